/**
 * Cases of one residual block with Kalman normalization.
 */
import {
  Belief,
  backward,
  HostRandom,
  moments,
  noGrad,
  ReferenceKalmanNorm2d,
  samplePrior,
  samples,
  type Tensor,
} from '../../lib/index.js';
import { ReferenceKalmanBlock } from '../../lib/models/reference-kalman-block.js';
import { type Case, evaluate, gradient } from './case.js';
import { runningOptions } from './layers.js';
import { fromSamples, toHwio, toNchw, toOihw } from './layout.js';

/** Runs a block case, by its `what`. Null for an unknown one. */
export function blockCheck(what: string): ((c: Case) => Promise<void>) | null {
  return what === 'residual block' ? checkBlock : null;
}

/** How names of the block's parameters and buffers become those of the reference. */
const renamings: readonly (readonly [RegExp, string])[] = [
  [/^norm1\./, 'kn/'],
  [/^norm2\./, 'kn1/'],
  [/^conv([12])\.weight$/, 'conv$1_kn/conv$1/W'],
  [/runningMean$/, 'mean/EMA'],
  [/runningVariance$/, 'variance/EMA'],
];
const referenceName = (name: string) => renamings.reduce((text, [from, to]) => text.replace(from, to), name);

function makeBlock({ device, fields, ...rest }: Case): ReferenceKalmanBlock {
  const widens = fields.flag('increase_dim');
  const first = fields.flag('first');
  const inChannels = fields.number('in_channels');
  const norm = (channels: number) =>
    new ReferenceKalmanNorm2d(device, channels, {
      splits: fields.number('split_num'),
      gain: 1 - fields.number('p_rate'),
      relu: true,
      ...runningOptions(fields),
    });
  const block = new ReferenceKalmanBlock(device, {
    inChannels,
    widens,
    first,
    norm1: first ? null : norm(inChannels),
    norm2: norm(widens ? 2 * inChannels : inChannels),
    random: new HostRandom(0),
    beliefPadding: 'reference',
  });
  for (const [name, tensor] of block.stateDict()) {
    const values = rest.recording.take(referenceName(name));
    tensor.write((values.shape.length === 4 ? toOihw(values) : values).data);
  }
  return block;
}

async function checkBlock(c: Case): Promise<void> {
  const block = makeBlock(c);
  const input = await inputOf(c);
  await checkTraining(c, block, input);
  await checkInside(c, block, input);

  const buffers = [...block.namedBuffers()].map(([name, tensor]) => [referenceName(name), tensor.detach()] as const);
  const averages = await evaluate(() => Object.fromEntries(buffers));
  for (const [name, values] of Object.entries(averages)) c.compare(`after/${name}`, values);
  block.eval();
  const { out } = await evaluate(() => noGrad(() => ({ out: block.forward(c.activation('l'), null, () => null).x })));
  c.compareActivation('infer/out', out);
  block.dispose();
}

/** What a block is given. */
interface Input {
  /** A new leaf with the block's input: in the first block with the virtual samples that the layer before makes. */
  x(): Tensor;
  belief(): Belief;
  /** Virtual samples of the belief, where the block expects them from the layer before. */
  draw(belief: Belief): Tensor;
  /** A new source of the noise that the block itself asks for. */
  draws(): () => Tensor;
  first: boolean;
  /** N: how many of the samples are real. */
  real: number;
  splits: number;
}

async function inputOf(c: Case): Promise<Input> {
  const splits = c.fields.number('split_num');
  const first = c.fields.flag('first');
  const { shape, data } = toNchw(c.recording.take('l'));
  const [real = 1, channels = 1, height = 1, width = 1] = shape;
  const belief = () => new Belief(c.vector('m', true), c.vector('v', true), splits);
  const draw = (from: Belief) => samplePrior(from, { height, width }, c.noise('noise_conv1', splits));
  const virtual = first ? (await evaluate(() => ({ images: draw(belief()) }))).images.data : new Float32Array();
  const all = new Float32Array(data.length + virtual.length);
  all.set(data);
  all.set(virtual, data.length);
  const count = first ? real + splits : real;
  return {
    x: () => c.device.tensor(all, [count, channels, height, width], { requiresGrad: true }),
    belief,
    draw,
    draws() {
      const names = first ? ['noise_conv2'] : ['noise_conv1', 'noise_conv2'];
      return () => c.noise(names.shift() as string, splits);
    },
    first,
    real,
    splits,
  };
}

/** A training step: outputs, guard ratios, and all gradients. */
async function checkTraining(c: Case, block: ReferenceKalmanBlock, input: Input): Promise<void> {
  const parameters = [...block.namedParameters()];
  const results = await evaluate(() => {
    const x = input.x();
    const belief = input.belief();
    const { x: out, prior } = block.forward(x, belief, input.draws());
    const { mean, variance } = prior as Belief;
    backward([out, mean, variance], [c.activation('ct_l'), c.vector('ct_m'), c.vector('ct_v')]);
    const dx = gradient(x);
    // The virtual samples are a function of the belief, which the leaf x has cut off.
    if (input.first) backward(input.draw(belief), samples(dx, input.real, input.splits));
    return {
      out,
      m_out: mean,
      v_out: variance,
      'grad/l': samples(dx, 0, input.real),
      'grad/m': gradient(belief.mean),
      'grad/v': gradient(belief.variance),
      ...Object.fromEntries(parameters.map(([name, leaf]) => [`grad/${referenceName(name)}`, gradient(leaf)])),
    };
  });
  for (const [name, values] of Object.entries(results)) {
    if (name.endsWith('/W')) c.compare(name, toHwio(values));
    else c.compareActivation(name, values);
  }
  const ratios = await Promise.all(
    [block.norm1, block.norm2].map(async (norm) => (norm ? [(await norm.lastRatio!.data())[0]!] : [])),
  );
  const data = Float32Array.from(ratios.flat());
  c.compare('guard_ratio', { shape: [data.length], data });
}

/** What the block keeps to itself: virtual samples and priors, from the same calls that it makes. */
async function checkInside(c: Case, block: ReferenceKalmanBlock, input: Input): Promise<void> {
  const { real, splits } = input;
  // Another step of the norms would move their running averages.
  const before = await block.stateValues();
  const inside = await evaluate(() =>
    noGrad(() => {
      const x = input.x();
      const belief = input.belief();
      const draw = input.draws();
      const activated = block.norm1?.step(x, belief, draw()).output ?? x;
      const inner = block.conv1.forward(activated);
      const prior = moments(samples(inner, real, splits), splits);
      const middle = block.norm2.step(inner, 'carried', draw()).output;
      return {
        'prior_of_kn/mean': belief.mean,
        'prior_of_kn/var': belief.variance,
        sampled_conv1: samples(activated, real, splits),
        'prior_of_kn1/mean': prior.mean,
        'prior_of_kn1/var': prior.variance,
        sampled_conv2: samples(middle, real, splits),
      };
    }),
  );
  block.loadStateDict(before);
  for (const [name, values] of Object.entries(inside)) {
    if (!c.recording.has(name)) continue;
    c.compare(name, values.shape.length === 4 ? fromSamples(values) : values);
  }
}
