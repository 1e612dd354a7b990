import { imagenet } from './imagenet/program.js';
import { runProgram } from './training.js';

await runProgram(import.meta.url, imagenet);
