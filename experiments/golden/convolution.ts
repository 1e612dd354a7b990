/**
 * Cases of a convolution with TensorFlow's SAME padding, and of a prior's way through one.
 */
import { Belief, backward, conv2d, samplePrior } from '../../lib/index.js';
import { predict } from '../../lib/kalman/index.js';
import { type Case, evaluate, gradient } from './case.js';
import { fromSamples, toHwio } from './layout.js';

/** Runs a convolution case, by its `what`. Null for an unknown one. */
export function convolutionCheck(what: string): ((c: Case) => Promise<void>) | null {
  if (/^Conv2D \d+x\d+ SAME, no bias$/.test(what)) return checkConvolution;
  if (what === 'prior propagation through one convolution') return checkPropagation;
  return null;
}

async function checkConvolution(c: Case): Promise<void> {
  const stride = c.fields.number('stride');
  const { out, dx, dw } = await evaluate(() => {
    const x = c.activation('x', true);
    const weight = c.filter('W', true);
    const out = conv2d(x, weight, { stride, padding: 'same' });
    backward(out, c.activation('ct_out'));
    return { out, dx: gradient(x), dw: gradient(weight) };
  });
  c.compareActivation('out', out);
  c.compareActivation('grad/x', dx);
  c.compare('grad/W', toHwio(dw));
}

async function checkPropagation(c: Case): Promise<void> {
  const { fields } = c;
  const splits = fields.number('split_num');
  const size = { height: fields.number('H'), width: fields.number('W') };
  fields.require('padding', 'SAME');
  const options = { ...size, stride: fields.number('stride'), padding: 'same' } as const;
  const { sampled, mean, variance, dm, dv, dw } = await evaluate(() => {
    const [m, v, weight] = [c.vector('m1', true), c.vector('v1', true), c.filter('W', true)];
    const noise = c.noise('noise', splits);
    const belief = new Belief(m, v, splits);
    const predicted = predict(belief, weight, { ...options, noise });
    backward([predicted.mean, predicted.variance], [c.vector('ct_m'), c.vector('ct_v')]);
    return {
      sampled: samplePrior(belief, size, noise),
      mean: predicted.mean,
      variance: predicted.variance,
      dm: gradient(m),
      dv: gradient(v),
      dw: gradient(weight),
    };
  });
  c.compare('sampled', fromSamples(sampled));
  c.compare('m_out', mean);
  c.compare('v_out', variance);
  c.compare('grad/m1', dm);
  c.compare('grad/v1', dv);
  c.compare('grad/W', toHwio(dw));
}
