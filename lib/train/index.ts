/**
 * Training of classifiers.
 *
 * @module train
 */
export * from './trainer.js';
