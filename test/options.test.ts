import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'ava';
import ts from 'typescript';
import * as kn from '../lib/index.js';
import { checkOptions, nearest } from '../lib/options.js';

type Call = (options: never) => unknown;

const device = kn.openDevice('cpu', { threads: 1 });
const images = device.ones([2, 4, 4, 4]);
const vector = device.ones([4]);
const affine = { gamma: null, beta: null };
const averages = { mean: device.ones([4]), variance: device.ones([4]) };
const filter = device.ones([4, 4, 1, 1], { format: 'filter' });
const tiny = { classes: 2, train: 4, test: 2, size: 8 };
const net = () => new kn.Sequential(new kn.Conv2d(device, 3, 2, 1), new kn.GlobalAvgPool2d());
const folder = await mkdtemp(join(tmpdir(), 'kalman-norm-options-'));
const file = join(folder, 'model.safetensors');
await kn.saveModel(file, net(), { input: { channels: 3, height: 8, width: 8 } });
const served = await kn.loadModel(file, { device });
const classifier = new kn.CifarResNet(device, { n: 1, norm: { type: 'layer' }, classes: 2 });
const training = {
  device,
  model: classifier,
  optimizer: new kn.Sgd(device, classifier.namedParameters(), 0.1),
  dataset: kn.syntheticDataset({ ...tiny, size: 32 }),
  batchSize: 2,
};
const trainer = new kn.Trainer(training);

test.after.always(async () => {
  await served.dispose();
  await rm(folder, { recursive: true, force: true });
});

/** All that the library exports and that takes options, called with nothing but them wrong. */
const takers: Readonly<Record<string, Call>> = {
  backward: (options) => kn.backward(images, undefined, options),
  openDevice: (options) => kn.openDevice('cpu', options),
  'new CheckpointFolder': (options) => new kn.CheckpointFolder(folder, {}, options),
  'new ResNet': (options) => new kn.ResNet(device, options),
  'Device.tensor': (options) => device.tensor([1], [1], options),
  'Device.full': (options) => device.full([1], 1, options),
  'Device.zeros': (options) => device.zeros([1], options),
  'Device.ones': (options) => device.ones([1], options),
  openDataset: (options) => kn.openDataset(options),
  limit: (options) => kn.limit(training.dataset, options),
  decodeImages: (options) => kn.decodeImages({} as kn.EncodedImages, options),
  verifyImages: (options) => kn.verifyImages({} as kn.EncodedImages, options),
  downloadCifar10: (options) => kn.downloadCifar10(folder, options),
  downloadCifar100: (options) => kn.downloadCifar100(folder, options),
  openImageFolder: (options) => kn.openImageFolder(folder, options),
  arraySource: (options) => kn.arraySource(options),
  splitSource: (options) => kn.splitSource({} as kn.BatchSource, options),
  syntheticDataset: (options) => kn.syntheticDataset(options),
  openProcessGroup: (options) => kn.openProcessGroup(options),
  processGroupProblem: (options) => kn.processGroupProblem(options),
  exportOnnx: (options) => kn.exportOnnx(join(folder, 'model.onnx'), net(), options),
  serializeOnnx: (options) => kn.serializeOnnx(net(), options),
  'new CifarResNet': (options) => new kn.CifarResNet(device, options),
  'new NormalizerFreeBlock': (options) => new kn.NormalizerFreeBlock(device, options),
  'new ReferenceKalmanBlock': (options) => new kn.ReferenceKalmanBlock(device, options),
  'new ResidualBlock': (options) => new kn.ResidualBlock(device, options),
  'new KalmanNorm2d': (options) => new kn.KalmanNorm2d(device, 4, options),
  'new FilterResponseNorm2d': (options) => new kn.FilterResponseNorm2d(device, 4, options),
  'new EvoNormS0': (options) => new kn.EvoNormS0(device, 4, options),
  'new BatchChannelNorm2d': (options) => new kn.BatchChannelNorm2d(device, 4, options),
  'new BatchNorm2d': (options) => new kn.BatchNorm2d(device, 4, options),
  'new BatchNorm1d': (options) => new kn.BatchNorm1d(device, 4, options),
  'new BatchRenorm2d': (options) => new kn.BatchRenorm2d(device, 4, options),
  'new Conv2d': (options) => new kn.Conv2d(device, 4, 4, 1, options),
  'new Dropout': (options) => new kn.Dropout(device, 0.5, options),
  'new GroupKalmanNorm2d': (options) => new kn.GroupKalmanNorm2d(device, 4, options),
  'new GroupNorm': (options) => new kn.GroupNorm(device, 2, 4, options),
  varianceScaling: (options) => kn.varianceScaling(new kn.HostRandom(1), [2, 2], options),
  'new LayerNorm': (options) => new kn.LayerNorm(device, 4, options),
  'new InstanceNorm2d': (options) => new kn.InstanceNorm2d(device, 4, options),
  'new Linear': (options) => new kn.Linear(device, 4, 4, options),
  'new MaxPool2d': (options) => new kn.MaxPool2d(2, options),
  'new MovingAverageBatchNorm2d': (options) => new kn.MovingAverageBatchNorm2d(device, 4, options),
  'new ReferenceKalmanNorm2d': (options) => new kn.ReferenceKalmanNorm2d(device, 4, options),
  'new ScaledAffine2d': (options) => new kn.ScaledAffine2d(device, 4, options),
  buildModel: (options) => kn.buildModel(device, { type: 'ReLU' }, options),
  'new SyncBatchNorm2d': (options) => new kn.SyncBatchNorm2d(device, 4, options),
  adaptiveKalmanNorm: (options) =>
    kn.adaptiveKalmanNorm(images, null, affine, { filter: device.zeros([10, 4]), running: averages }, options),
  conv2d: (options) => kn.conv2d(images, filter, options),
  'conv2d epilogue': (options) => kn.conv2d(images, filter, {}, options),
  kalmanNorm: (options) => kn.kalmanNorm(images, null, affine, options),
  'kalman.predict': (options) => kn.kalman.predict(new kn.Belief(vector, vector, 1), filter, options),
  'kalman.propagate': (options) => kn.kalman.propagate(new kn.Belief(vector, vector, 1), filter, options),
  'kalman.update': (options) => kn.kalman.update(images, null, options),
  addWithMoments: (options) => kn.addWithMoments(images, images, 1, options),
  max: (options) => kn.max(images, options),
  mean: (options) => kn.mean(images, options),
  sum: (options) => kn.sum(images, options),
  batchNorm: (options) => kn.batchNorm(images, affine, options),
  normalize: (options) => kn.normalize(images, averages, affine, options),
  gather: (options) => kn.gather({} as kn.GatherSource, options),
  groupNorm: (options) => kn.groupNorm(images, 2, affine, options),
  crossEntropy: (options) => kn.crossEntropy(images, vector, options),
  maxPool2d: (options) => kn.maxPool2d(images, 2, options),
  weightStandardize: (options) => kn.weightStandardize(filter, options),
  updateRunning: (options) => kn.updateRunning(averages, averages, options),
  'new Adam': (options) => new kn.Adam(device, [vector], 0.1, options),
  'new AdamW': (options) => new kn.AdamW(device, [vector], 0.1, options),
  'new LossScaler': (options) => new kn.LossScaler(device, options),
  polynomialSchedule: (options) => kn.polynomialSchedule(10, 0.1, options),
  oneCycleSchedule: (options) => kn.oneCycleSchedule(10, 0.1, options),
  'new Sgd': (options) => new kn.Sgd(device, [vector], 0.1, options),
  'new WeightAverage': (options) => new kn.WeightAverage(device, [vector], options),
  'InferenceModel.predict': (options) => served.predict(new Uint8Array(192), options),
  'InferenceModel.classify': (options) => served.classify(new Uint8Array(192), options),
  loadModel: (options) => kn.loadModel(file, options),
  'new Trainer': (options) => new kn.Trainer(options),
  'Trainer.trainEpoch': (options) => trainer.trainEpoch(1, options),
  'Trainer.evaluate': (options) => trainer.evaluate(options),
};

/** Those that don't refuse what they don't know by this message, and why. */
const left: Readonly<Record<string, string>> = {
  'new KalmanNormError': "passes Node's options to Error",
  'new Optimizer': 'abstract; its subclasses are called, and may hand on options of their own',
  'new Block': 'abstract; its subclasses are called',
  'new InferenceModel': 'made by loadModel alone',
  saveModel: 'says where texts of its caller belong; see below',
};

/** What things are made of, and no options: more may lie in it. */
const data = /^(Affine|BatchSource|Dataset|EncodedImages|Filtered|ModelDescription|ModelInfo|ProcessEnv|SplitSource)$/;

/** The names of the options that each export takes, as its type says. */
function declared(): Map<string, string[]> {
  const path = ts.findConfigFile('.', ts.sys.fileExists) as string;
  const { options } = ts.parseJsonConfigFileContent(ts.readConfigFile(path, ts.sys.readFile).config, ts.sys, '.');
  const program = ts.createProgram(['lib/index.ts'], options);
  const checker = program.getTypeChecker();
  const exportsOf = (symbol: ts.Symbol) =>
    checker
      .getExportsOfModule(symbol)
      .map((found) => (found.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(found) : found));
  const found = new Map<string, string[]>();
  const note = (name: string, signatures: readonly ts.Signature[]) => {
    for (const parameter of signatures.flatMap((signature) => signature.parameters)) {
      const type = checker.getNonNullableType(checker.getTypeOfSymbol(parameter));
      const symbol = type.aliasSymbol ?? type.getSymbol();
      const isPlain = type.flags & (ts.TypeFlags.Object | ts.TypeFlags.Intersection) && !type.isClass();
      if (!isPlain || type.getCallSignatures().length > 0 || checker.isArrayLikeType(type)) continue;
      const properties = type.getProperties();
      const takesOptions =
        parameter.name === 'options' || properties.some(({ flags }) => flags & ts.SymbolFlags.Optional);
      if (!takesOptions || data.test(symbol?.name ?? '')) continue;
      const key = parameter.name === 'epilogue' ? `${name} epilogue` : name;
      found.set(key, [...new Set([...(found.get(key) ?? []), ...properties.map((property) => property.name)])]);
    }
  };
  const visit = (symbol: ts.Symbol, prefix: string) => {
    const type = checker.getTypeOfSymbol(symbol);
    note(prefix + symbol.name, type.getCallSignatures());
    for (const signature of type.getConstructSignatures()) {
      note(`new ${symbol.name}`, [signature]);
      for (const member of signature.getReturnType().getProperties()) {
        const declaration = member.valueDeclaration;
        // Those that a class inherits are its base's.
        if (!declaration || !ts.isMethodDeclaration(declaration) || declaration.parent !== symbol.valueDeclaration)
          continue;
        const isOurs =
          (ts.getCombinedModifierFlags(declaration) & (ts.ModifierFlags.Private | ts.ModifierFlags.Protected)) > 0;
        if (!isOurs) note(`${symbol.name}.${member.name}`, checker.getTypeOfSymbol(member).getCallSignatures());
      }
    }
  };
  const index = checker.getSymbolAtLocation(program.getSourceFile('lib/index.ts') as ts.SourceFile) as ts.Symbol;
  const top = exportsOf(index);
  const seen = new Set(top);
  for (const symbol of top) {
    if (symbol.flags & ts.SymbolFlags.ValueModule) {
      for (const inner of exportsOf(symbol)) if (!seen.has(inner) && inner.valueDeclaration) visit(inner, 'kalman.');
    } else if (symbol.valueDeclaration) visit(symbol, '');
  }
  return found;
}

test('every export that takes options refuses those that it does not have, and names the nearest', async (t) => {
  const types = declared();
  const known = new Set([...Object.keys(takers), ...Object.keys(left)]);
  t.deepEqual(
    [...types.keys()].filter((name) => !known.has(name)),
    [],
    'to be called above',
  );
  t.deepEqual(
    [...known].filter((name) => !types.has(name)),
    [],
    'no longer there',
  );
  for (const [name, call] of Object.entries(takers)) {
    for (const option of types.get(name) ?? []) {
      const wrong = { [`${option}_`]: 1 };
      const error = await t.throwsAsync(async () => call(wrong as never), { instanceOf: kn.KalmanNormError }, name);
      t.is(error?.code, 'INVALID_ARGUMENT', name);
      t.true(error?.message.endsWith(`: there is no option "${option}_"; did you mean "${option}"?`), error?.message);
    }
  }
});

test('options within options are looked at, too', (t) => {
  const refused = (call: () => unknown, message: string) =>
    t.throws(call, { instanceOf: kn.KalmanNormError, code: 'INVALID_ARGUMENT', message });
  const misspelled = (options: object) => options as never;
  const group = misspelled({ parameters: [vector], weight_decay: 0 });
  refused(
    () => new kn.Sgd(device, [{ parameters: [filter] }, group], 0.1),
    'Sgd: group 1: there is no option "weight_decay"; did you mean "weightDecay"?',
  );
  const init = misspelled({ scael: 1 });
  refused(
    () => new kn.Conv2d(device, 1, 1, 1, { init }),
    'varianceScaling: there is no option "scael"; did you mean "scale"?',
  );
  const adaptiveClip = misspelled({ cliping: 0.1 });
  refused(
    () => new kn.Trainer({ ...training, adaptiveClip }),
    'Trainer: adaptiveClip: there is no option "cliping"; did you mean "clipping"?',
  );
  const augment = misspelled({ flip: true });
  refused(
    () => new kn.Trainer({ ...training, augment }),
    'Trainer: augment: there is no option "flip"; there are pad, cutout',
  );
  for (const [type, name] of [
    ['batch', 'BatchNorm2d'],
    ['sync-batch', 'SyncBatchNorm2d'],
    ['batch-renorm', 'BatchRenorm2d'],
    ['batch-channel', 'BatchChannelNorm2d'],
    ['mabn', 'MovingAverageBatchNorm2d'],
    ['kalman', 'KalmanNorm2d'],
    ['reference-kalman', 'ReferenceKalmanNorm2d'],
  ] as const) {
    const norm = misspelled({ type, split: 4 });
    refused(
      () => new kn.CifarResNet(device, { n: 1, norm }),
      `${name}: there is no option "split"; did you mean "splits"?`,
    );
  }
  for (const [type, name] of [
    ['group', 'GroupNorm'],
    ['layer', 'LayerNorm'],
    ['instance', 'InstanceNorm2d'],
    ['frn', 'FilterResponseNorm2d'],
    ['evonorm', 'EvoNormS0'],
    ['group-kalman', 'GroupKalmanNorm2d'],
  ] as const) {
    const norm = misspelled({ type, epsilom: 1e-3 });
    refused(
      () => new kn.CifarResNet(device, { n: 1, norm }),
      `${name}: there is no option "epsilom"; did you mean "epsilon"?`,
    );
  }
  const norm = misspelled({ type: 'normalizer-free', alhpa: 1 });
  refused(
    () => new kn.CifarResNet(device, { n: 1, norm }),
    'normalizer-free: there is no option "alhpa"; did you mean "alpha"?',
  );
});

test('saveModel says where texts belong that nobody reads', async (t) => {
  const options = { epoch: 3 } as never;
  await t.throwsAsync(kn.saveModel(file, net(), options), {
    code: 'INVALID_ARGUMENT',
    message: 'saveModel: there is no option "epoch"; texts of your own belong into metadata',
  });
});

test('what is undefined is no option', (t) => {
  const check = (options: { rate?: number }) => checkOptions('Taker', options, { rate: true });
  const given = { rate: undefined, raet: undefined } as never;
  t.notThrows(() => check(given));
  t.notThrows(() => check(Object.create({ rate: 1 })));
  for (const name of ['toString', 'constructor', '__proto__x', '']) {
    t.throws(() => check({ [name]: 1 } as never), {
      code: 'INVALID_ARGUMENT',
      message: /: there is no option ".*"; there are rate$/,
    });
  }
  for (const [wrong, text] of [
    [null, 'null'],
    [3, '3'],
    ['rate', '"rate"'],
  ] as const) {
    t.throws(() => check(wrong as never), {
      code: 'INVALID_ARGUMENT',
      message: `Taker: options must be an object, got ${text}`,
    });
  }
});

test('the nearest name is one that was meant, whatever its case and dashes', (t) => {
  const names = ['learningRate', 'weightDecay', 'momentum', 'device'];
  t.is(nearest('weight_decay', names), 'weightDecay');
  t.is(nearest('WEIGHT-DECAY', names), 'weightDecay');
  t.is(nearest('devcie', names), 'device');
  t.is(nearest('momentun', names), 'momentum');
  t.is(nearest('size', names), null);
});
