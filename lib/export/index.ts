/**
 * Networks for other programs.
 */
export { type ExportOnnxOptions, exportOnnx, serializeOnnx } from './onnx.js';
