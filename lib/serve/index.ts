export * from './inference-model.js';
export * from './load-model.js';
