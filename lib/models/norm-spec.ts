import {
  type ActivatedNormOptions,
  type EvoNormOptions,
  EvoNormS0,
  FilterResponseNorm2d,
} from '../nn/activated-norm.js';
import { BatchChannelNorm2d, type BatchChannelNormOptions } from '../nn/batch-channel-norm.js';
import { BatchNorm2d } from '../nn/batch-norm.js';
import { BatchRenorm2d, type BatchRenormOptions } from '../nn/batch-renorm.js';
import type { WeightStandardization } from '../nn/conv2d.js';
import { GroupKalmanNorm2d, type GroupKalmanNormOptions } from '../nn/group-kalman-norm.js';
import { GroupNorm } from '../nn/group-norm.js';
import { KalmanNorm2d, type KalmanNormLayerOptions } from '../nn/kalman-norm.js';
import { InstanceNorm2d, LayerNorm } from '../nn/layer-norm.js';
import type { Layer } from '../nn/module.js';
import { MovingAverageBatchNorm2d, type MovingAverageBatchNormOptions } from '../nn/moving-average-norm.js';
import type { NormLayerOptions, RunningNormOptions } from '../nn/norm.js';
import { ReferenceKalmanNorm2d, type ReferenceKalmanNormOptions } from '../nn/reference-kalman-norm.js';
import { ScaledAffine2d } from '../nn/scaled-affine.js';
import type { SpecReader } from '../nn/spec.js';
import { SyncBatchNorm2d, type SyncBatchNormOptions } from '../nn/sync-batch-norm.js';
import type { BeliefPadding } from '../ops/pad.js';
import type { Transition } from '../ops/predict.js';
import type { TransitionGradient } from '../ops/transition-gradient.js';
import { reluGain } from '../ops/weight-standardize.js';
import { checkOptions } from '../options.js';
import type { Device } from '../tensor.js';

/** The normalization of a network: the options of its layers, and of the blocks where they concern beliefs. */
export type NormSpec =
  | ({ type: 'batch' } & Omit<RunningNormOptions, 'relu' | 'affine'>)
  /** Batch normalization over the processes of a group, which {@link Trainer} tells it. */
  | ({ type: 'sync-batch' } & Omit<SyncBatchNormOptions, 'relu' | 'affine' | 'group'>)
  | ({ type: 'group'; groups?: number } & Pick<NormLayerOptions, 'epsilon'>)
  | ({ type: 'layer' } & Pick<NormLayerOptions, 'epsilon'>)
  | ({ type: 'instance' } & Pick<NormLayerOptions, 'epsilon'>)
  /** Filter response normalization: its thresholded linear unit is the activation. */
  | ({ type: 'frn' } & ActivatedNormOptions)
  /** EvoNorm-S0, with 4 groups by default: its gate is the activation. */
  | ({ type: 'evonorm' } & EvoNormOptions)
  /** Batch renormalization. */
  | ({ type: 'batch-renorm' } & Omit<BatchRenormOptions, 'relu' | 'affine'>)
  /** Batch-channel normalization, with 4 groups by default. */
  | ({ type: 'batch-channel' } & Omit<BatchChannelNormOptions, 'relu'>)
  /** Moving average batch normalization; filters are centered by default. */
  | ({ type: 'mabn' } & Omit<MovingAverageBatchNormOptions, 'relu'>)
  /** No normalization: blocks that keep the variance by design, of {@link CifarResNet} alone; `alpha`: default 0.2. */
  | { type: 'normalizer-free'; alpha?: number }
  /** Its `transitionGradient` is that of the blocks' convolutions, too. */
  | ({ type: 'kalman' } & Omit<KalmanNormLayerOptions, 'relu'>)
  /** Group Kalman normalization, with 4 groups by default; `transitionGradient` as with `kalman`. */
  | ({ type: 'group-kalman' } & Omit<GroupKalmanNormOptions, 'relu'>)
  /** The filter as the paper's authors coded it. */
  | ({
      type: 'reference-kalman';
      gain: number | 'learned';
      /** How the shortcut of a widening block pads beliefs; default `aligned`. */
      beliefPadding?: BeliefPadding;
      /** How beliefs go through convolutions; default `sampled`. */
      transition?: Transition;
    } & Omit<ReferenceKalmanNormOptions, 'relu' | 'affine'>);

/** Reads a normalization from a spec, with the options that {@link NormSpec} has. @internal */
export function planNorm(spec: SpecReader): NormSpec {
  const type = spec.choice('type', [
    'batch',
    'sync-batch',
    'group',
    'layer',
    'instance',
    'frn',
    'evonorm',
    'batch-renorm',
    'batch-channel',
    'mabn',
    'normalizer-free',
    'kalman',
    'group-kalman',
    'reference-kalman',
  ]);
  if (type === 'normalizer-free') return { type, alpha: spec.number('alpha', 1e-9, 1e9, 0.2) };
  const epsilon = spec.number('epsilon', Number.MIN_VALUE, Number.MAX_VALUE, type === 'frn' ? 1e-6 : 1e-5);
  if (type === 'layer' || type === 'instance' || type === 'frn') return { type, epsilon };
  if (type === 'sync-batch') return { type, epsilon, momentum: spec.number('momentum', 0, 1, 0.1) };
  const groups = () =>
    spec.value<number>('groups', (value) => [1, 2, 4, 8, 16].includes(value as number), 'a divisor of 16', 4);
  if (type === 'group' || type === 'evonorm') return { type, epsilon, groups: groups() };
  if (type === 'group-kalman') {
    const momentum = spec.number('momentum', 0, 1, 0.1);
    return { type, epsilon, groups: groups(), momentum, ...KalmanNorm2d.filterOptions(spec) };
  }
  const splits = spec.size('splits', 1);
  if (type === 'mabn') return { type, epsilon, splits, ...MovingAverageBatchNorm2d.averageOptions(spec) };
  const filtered = { epsilon, splits, momentum: spec.number('momentum', 0, 1, 0.1) };
  if (type === 'kalman') return { type, ...filtered, ...KalmanNorm2d.filterOptions(spec) };
  const running = {
    ...filtered,
    runningStats: spec.choice('runningStats', ['all-splits', 'first-split'], 'all-splits'),
  };
  if (type === 'batch') return { type, ...running };
  if (type === 'batch-renorm') return { type, ...running, ...BatchRenorm2d.limits(spec) };
  if (type === 'batch-channel') return { type, ...running, groups: groups() };
  return {
    type,
    ...running,
    ...ReferenceKalmanNorm2d.filterOptions(spec),
    initialGain: spec.number('initialGain', Number.MIN_VALUE, 1 - Number.EPSILON, 0.1),
    beliefPadding: spec.choice('beliefPadding', ['aligned', 'reference'], 'aligned'),
    transition: spec.choice('transition', ['sampled', 'analytic'], 'sampled'),
  };
}

/** What a normalization wants of the filters in front of it, where nothing is said. @internal */
export function defaultStandardization({ type }: NormSpec): WeightStandardization {
  if (type === 'normalizer-free') return reluGain;
  return type === 'mabn' ? 'centered' : false;
}

/** The gradient of beliefs through a network's convolutions. @internal */
export function transitionGradientOf(norm: NormSpec): TransitionGradient {
  const hasOption = norm.type === 'kalman' || norm.type === 'group-kalman';
  return (hasOption && norm.transitionGradient) || 'closed-form';
}

/**
 * A layer of a network's normalization.
 *
 * @param relu whether it rectifies, too; `frn` and `evonorm`, which are activations, don't ask
 * @internal
 */
export function makeNorm(device: Device, spec: NormSpec, channels: number, relu: boolean): Layer {
  switch (spec.type) {
    case 'batch':
      return new BatchNorm2d(device, channels, { ...optionsOf(spec), relu });
    case 'sync-batch':
      return new SyncBatchNorm2d(device, channels, { ...optionsOf(spec), relu });
    case 'group': {
      const { groups = 4, ...options } = optionsOf(spec);
      return new GroupNorm(device, groups, channels, { ...options, relu });
    }
    case 'layer':
      return new LayerNorm(device, channels, { ...optionsOf(spec), relu });
    case 'instance':
      return new InstanceNorm2d(device, channels, { ...optionsOf(spec), relu });
    case 'frn':
      return new FilterResponseNorm2d(device, channels, optionsOf(spec));
    case 'evonorm':
      return new EvoNormS0(device, channels, { ...optionsOf(spec), groups: spec.groups ?? 4 });
    case 'batch-renorm':
      return new BatchRenorm2d(device, channels, { ...optionsOf(spec), relu });
    case 'batch-channel':
      return new BatchChannelNorm2d(device, channels, { ...optionsOf(spec), groups: spec.groups ?? 4, relu });
    case 'mabn':
      return new MovingAverageBatchNorm2d(device, channels, { ...optionsOf(spec), relu });
    case 'normalizer-free':
      checkOptions('normalizer-free', optionsOf(spec), { alpha: true });
      return new ScaledAffine2d(device, channels, { relu });
    case 'kalman':
      return new KalmanNorm2d(device, channels, { ...optionsOf(spec), relu });
    case 'group-kalman':
      return new GroupKalmanNorm2d(device, channels, { ...optionsOf(spec), groups: spec.groups ?? 4, relu });
    case 'reference-kalman': {
      const { beliefPadding: _, transition: __, ...options } = optionsOf(spec);
      return new ReferenceKalmanNorm2d(device, channels, { ...options, relu });
    }
  }
}

function optionsOf<Spec extends NormSpec>({ type: _, ...options }: Spec): Omit<Spec, 'type'> {
  return options;
}
