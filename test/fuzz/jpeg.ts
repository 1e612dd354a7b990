import sharp from 'sharp';
import { decodeImages, type EncodedImages } from '../../lib/index.js';
import { jpegCrops } from '../../lib/io/decode-jpeg.js';
import { photograph } from '../support/pictures.js';
import { TestRandom } from '../support/random.js';
import { mutateBytes, pick } from './mutate.js';
import { isKept, type Target } from './target.js';

const size = 24;

/** JPEGs of every kind that is decoded here. */
const images = await Promise.all(
  [{}, { chromaSubsampling: '4:4:4' }, { progressive: true }, { optimiseCoding: false }].flatMap((options, i) =>
    (['srgb', 'b-w'] as const).map((space) => {
      const [width, height] = [30 + 17 * i, 90 - 20 * i];
      const pixels = photograph(new TestRandom(`${i} ${space}`, 1), width, height);
      return sharp(pixels, { raw: { width, height, channels: 3 } })
        .toColourspace(space)
        .jpeg(options)
        .toBuffer();
    }),
  ),
);

/** The bytes of the next image. */
let next: Buffer = Buffer.alloc(0);
const source: EncodedImages = {
  name: 'fuzzed',
  classNames: ['a', 'b'],
  labels: Uint8Array.of(0, 1),
  note: 'Damaged JPEGs.',
  nameOf: () => 'a.jpg',
  read: async () => next,
  close: async () => {},
};

/** Of libjpeg-turbo alone: sharp's own readers are others' to fuzz. */
export const jpeg: readonly Target[] =
  typeof jpegCrops({ size, shorter: size, threads: 1 }) === 'string' ? [] : [await makeTarget()];

async function makeTarget(): Promise<Target> {
  const decoded = await decodeImages(source, { size, crop: 'random', decoder: 'native', threads: 1 });
  const read = async (fill: number, epoch?: number) => {
    const into = new Uint8Array(3 * size * size).fill(fill);
    await decoded.read(Int32Array.of(0), into, epoch);
    return into;
  };
  return {
    name: 'jpeg',
    share: 0.1,
    codes: ['FILE_CORRUPT'],
    make(random) {
      const valid = isKept(random);
      const bytes = Buffer.from(pick(random, images));
      // Long ones have few bytes that matter as much as those of the headers.
      const head = random.below(2) ? bytes.length : Math.min(bytes.length, 700);
      const damaged = () => Buffer.concat([mutateBytes(random, bytes.subarray(0, head)), bytes.subarray(head)]);
      const image = valid ? bytes : damaged();
      const epoch = random.below(3) || undefined;
      return {
        size: image.length,
        valid,
        async read() {
          next = image;
          // Twice, into different bytes: what isn't written, or made of memory that nobody has set, differs.
          const [one, two] = [await read(0, epoch), await read(255, epoch)];
          if (Buffer.compare(one, two) !== 0) throw new Error('pixels were left out, or are of chance');
        },
      };
    },
  };
}
