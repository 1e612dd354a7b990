/**
 * Training of classifiers.
 *
 * @module train
 */
export { CheckpointFolder, type LoadedCheckpoint, type Stateful } from '../io/checkpoint.js';
export * from './trainer.js';
export type { AdaptiveClip, Classifier, TrainerOptions } from './trainer-options.js';
