export type { Classification } from './classification.js';
export { foldNormalizations } from './fold.js';
export { type ClassifyOptions, InferenceModel, type InferenceOptions, type PredictOptions } from './inference-model.js';
export * from './load-model.js';
export type { Sample } from './samples.js';
