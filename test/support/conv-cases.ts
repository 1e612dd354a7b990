import type { Conv2dOptions } from '../../lib/index.js';
import * as reference from './reference.js';

/** A convolution that a test checks. */
export interface Case {
  title: string;
  /** Of x: [N, C, H, W]. */
  shape: readonly [number, number, number, number];
  outChannels: number;
  kernel: readonly [number, number];
  options: Conv2dOptions;
  /** What the options mean, for the reference. */
  stride: readonly [number, number];
  sides: reference.Sides;
  format?: 'plain' | 'activation';
}

const same = (h: number, w: number, kernel: number, stride: number) => reference.samePadding(h, w, kernel, stride);

/** What plain convolutions are checked on. */
export const cases: Case[] = [
  {
    title: '3 x 3, stride 1, SAME',
    shape: [3, 5, 7, 9],
    outChannels: 12,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: same(7, 9, 3, 1),
  },
  {
    title: '3 x 3, stride 2, SAME, even size: 0 before and 1 after',
    shape: [2, 16, 8, 6],
    outChannels: 24,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: [0, 0, 1, 1],
  },
  {
    title: '3 x 3, stride 2, SAME, odd size: 1 before and 1 after',
    shape: [2, 8, 7, 5],
    outChannels: 3,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: [1, 1, 1, 1],
  },
  {
    title: '3 x 3, stride 3, SAME',
    shape: [1, 3, 8, 10],
    outChannels: 5,
    kernel: [3, 3],
    options: { stride: 3, padding: 'same' },
    stride: [3, 3],
    sides: same(8, 10, 3, 3),
  },
  {
    title: '3 x 3 of row-major images',
    shape: [3, 3, 9, 8],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
    format: 'plain',
  },
  {
    title: '3 x 3 of row-major images with channels for blocks of eight',
    shape: [2, 8, 5, 6],
    outChannels: 8,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: same(5, 6, 3, 2),
    format: 'plain',
  },
  {
    title: '1 x 1 of one channel',
    shape: [4, 1, 3, 5],
    outChannels: 8,
    kernel: [1, 1],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: '1 x 1, stride 2, to one channel',
    shape: [2, 12, 5, 4],
    outChannels: 1,
    kernel: [1, 1],
    options: { stride: 2 },
    stride: [2, 2],
    sides: [0, 0, 0, 0],
  },
  {
    title: '5 x 5 without padding, one output pixel',
    shape: [3, 3, 5, 5],
    outChannels: 5,
    kernel: [5, 5],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: '5 x 5, stride 2, SAME',
    shape: [2, 5, 9, 6],
    outChannels: 8,
    kernel: [5, 5],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: same(9, 6, 5, 2),
  },
  {
    title: 'four different paddings',
    shape: [1, 8, 6, 5],
    outChannels: 5,
    kernel: [3, 3],
    options: { padding: [0, 2, 1, 3] },
    stride: [1, 1],
    sides: [0, 2, 1, 3],
  },
  {
    title: 'stride, padding and kernel that differ by axis; rows that no window covers',
    shape: [2, 3, 8, 7],
    outChannels: 12,
    kernel: [3, 1],
    options: { stride: [3, 2], padding: [1, 0] },
    stride: [3, 2],
    sides: [1, 0, 1, 0],
  },
  // From 16 channels the CPU computes these by Winograd's filtering: tiles that are cut off, channel blocks of one, two
  // and four vectors, more tiles than fit a chunk. Its transforms add up to 16 values with factors of at most 1, which
  // costs a small multiple of a direct sum's rounding: the margin of tolerance.sum covers it.
  {
    title: 'tiles: SAME, odd size, five vectors of outputs',
    shape: [2, 32, 5, 3],
    outChannels: 40,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: four different paddings',
    shape: [1, 32, 4, 5],
    outChannels: 32,
    kernel: [3, 3],
    options: { padding: [0, 2, 1, 3] },
    stride: [1, 1],
    sides: [0, 2, 1, 3],
  },
  {
    title: 'tiles: no padding, one output pixel',
    shape: [2, 40, 3, 3],
    outChannels: 32,
    kernel: [3, 3],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: 'tiles: blocks of four vectors, two and one',
    shape: [1, 24, 6, 7],
    outChannels: 56,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: sixteen channels',
    shape: [3, 16, 5, 8],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: several chunks, several parts of sums',
    shape: [4, 16, 21, 20],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'tiles: sums cut by columns',
    shape: [1, 16, 5, 4],
    outChannels: 136,
    kernel: [3, 3],
    options: { padding: 'same' },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  // With AVX-512 the CPU computes these as products of patches and filters.
  {
    title: 'patches: stride 2, several chunks, several parts of sums',
    shape: [4, 16, 21, 23],
    outChannels: 32,
    kernel: [3, 3],
    options: { stride: 2, padding: 'same' },
    stride: [2, 2],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'patches: one pixel, blocks of three vectors and five',
    shape: [2, 24, 7, 6],
    outChannels: 40,
    kernel: [1, 1],
    options: {},
    stride: [1, 1],
    sides: [0, 0, 0, 0],
  },
  {
    title: 'patches: one pixel of a border, stride 2, sums cut by columns',
    shape: [1, 16, 9, 8],
    outChannels: 136,
    kernel: [1, 1],
    options: { stride: 2, padding: [1, 0] },
    stride: [2, 2],
    sides: [1, 0, 1, 0],
  },
  {
    title: 'patches: one pixel, stride and padding that give the size of the input',
    shape: [2, 16, 3, 3],
    outChannels: 16,
    kernel: [1, 1],
    options: { stride: 2, padding: 1 },
    stride: [2, 2],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'patches: 5 x 2, stride that differs by axis, four paddings',
    shape: [2, 32, 8, 7],
    outChannels: 16,
    kernel: [5, 2],
    options: { stride: [1, 3], padding: [3, 1, 0, 2] },
    stride: [1, 3],
    sides: [3, 1, 0, 2],
  },
];

/** With dilation and groups. */
export const grouped: Case[] = [
  {
    title: 'dilation, SAME',
    shape: [2, 5, 9, 8],
    outChannels: 6,
    kernel: [3, 3],
    options: { padding: 'same', dilation: 2 },
    stride: [1, 1],
    sides: [2, 2, 2, 2],
  },
  {
    title: 'tiles: dilation that differs by axis, stride, four paddings',
    shape: [1, 32, 8, 9],
    outChannels: 32,
    kernel: [3, 3],
    options: { padding: [1, 0, 2, 3], dilation: [2, 1], stride: [1, 2] },
    stride: [1, 2],
    sides: [1, 0, 2, 3],
  },
  {
    title: 'depthwise, blocks of eight',
    shape: [2, 16, 6, 5],
    outChannels: 16,
    kernel: [3, 3],
    options: { padding: 1, groups: 16 },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
  },
  {
    title: 'depthwise, two outputs a channel, stride, dilation',
    shape: [2, 5, 9, 7],
    outChannels: 10,
    kernel: [3, 3],
    options: { padding: 2, groups: 5, stride: 2, dilation: 2 },
    stride: [2, 2],
    sides: [2, 2, 2, 2],
  },
  {
    title: 'groups of channels in blocks of eight, of row-major images',
    shape: [2, 16, 5, 4],
    outChannels: 32,
    kernel: [3, 3],
    options: { padding: 'same', groups: 2 },
    stride: [1, 1],
    sides: [1, 1, 1, 1],
    format: 'plain',
  },
  {
    title: 'groups across blocks of eight',
    shape: [2, 24, 4, 3],
    outChannels: 16,
    kernel: [1, 3],
    options: { padding: [0, 1], groups: 4 },
    stride: [1, 1],
    sides: [0, 1, 0, 1],
  },
];
