/**
 * Training of classifiers.
 *
 * @module train
 */
export * from '../io/checkpoint.js';
export * from './trainer.js';
export type { Classifier, TrainerOptions } from './trainer-options.js';
