import { check } from '../../lib/errors.js';
import {
  type DecodedImages,
  decodeImages,
  KalmanNormError,
  openImageSplits,
  ResNet,
  Sgd,
  Trainer,
  verifyImages,
} from '../../lib/index.js';
import { ownPart } from '../processes.js';
import { resumedConfiguration } from '../resume.js';
import { type Session, type TrainingProgram, trainInFolder, withDevice } from '../training.js';
import { depthOf, type ImageNetConfiguration, imagenetSchedule, imagenetUsage, parseImageNet } from './options.js';

/** ImageNet's mean by channel, from 0 to 255, and one deviation for all three (theirs are 58.4, 57.1 and 57.4). */
const MEAN = [123.675, 116.28, 103.53];
const DEVIATION = 57.6;

/** `npm run imagenet`: trains a {@link ResNet} on folders or tars of photographs. */
export const imagenet: TrainingProgram<ImageNetConfiguration> = {
  name: 'imagenet',
  usage: imagenetUsage,
  configuration: (args) => resumedConfiguration('imagenet', parseImageNet, args),
  run: (configuration) =>
    withDevice(configuration, async (session) => {
      const { console, signal, stopCode } = session;
      const { data, size, seed, decoder, decodeThreads: threads, parallel, verify } = configuration;
      const { train: trainImages, val } = await openImageSplits(data);
      try {
        if (verify) {
          for (const images of [trainImages, val]) {
            const onProgress = console.counter(`verifying ${images.name}`);
            await verifyImages(images, { signal, decoder, onProgress });
          }
        }
        const decoding = { size, decoder, threads, parallel };
        const train = await decodeImages(trainImages, { ...decoding, seed, crop: 'random' });
        const test = await decodeImages(val, decoding);
        return await trainOn({ train, test }, configuration, session);
      } catch (error) {
        if (signal.aborted && !(error instanceof KalmanNormError)) return stopCode();
        throw error;
      } finally {
        await Promise.all([trainImages.close(), val.close()]);
      }
    }),
};

async function trainOn(
  dataset: { train: DecodedImages; test: DecodedImages },
  configuration: ImageNetConfiguration,
  session: Session,
): Promise<number> {
  const { device, console, group } = session;
  const { architecture, width, norm, weightStandardization, seed, learningRate, momentum, weightDecay } = configuration;
  const { batchSize, accumulate, smoothing, imageMemory, eager, epochs } = configuration;
  const { train, test } = dataset;
  const images = train.labels.length;
  check(
    batchSize <= images,
    'INVALID_ARGUMENT',
    `--batch: expected at most the ${images} training images, got ${batchSize}`,
  );
  const classes = train.classNames.length;
  const depth = depthOf(configuration);
  const model = new ResNet(device, {
    depth,
    width,
    norm: ownPart(norm, configuration.processes),
    weightStandardization,
    classes,
    seed,
    zeroInitResidual: true,
  });
  const optimizer = new Sgd(device, model.namedParameters(), learningRate, { momentum, weightDecay });
  const stepsPerEpoch = Math.floor(images / batchSize);
  const trainer = new Trainer({
    device,
    model,
    optimizer,
    dataset,
    batchSize,
    accumulate,
    seed,
    eager,
    smoothing,
    imageMemory,
    ...(group && { group, syncStatistics: configuration.syncStatistics }),
    schedule: imagenetSchedule(configuration, stepsPerEpoch),
    mean: MEAN,
    scale: 1 / DEVIATION,
    // Crops are made where images are decoded; what is left for the device are flips.
    augment: { pad: 0 },
  });
  const description = await trainer.describe();
  const training = {
    ...session,
    configuration,
    model,
    optimizer,
    trainer,
    description,
    schedule: null,
    examiner: null,
  };
  const parameters = model.parameterCount();
  return trainInFolder(training, {
    facts: {
      classes,
      datasetNote: `${train.note} ${test.note}`,
      decodedBy: train.decoder,
      trainImages: images,
      testImages: test.labels.length,
    },
    start: () =>
      console.begin(`imagenet: ${architecture}, ${parameters.toLocaleString('en')} parameters`, [
        `normalization ${JSON.stringify(norm)}`,
        `${epochs} epochs of ${stepsPerEpoch} steps, batch ${batchSize}, seed ${seed}`,
        `learning rate ${learningRate} behind ${configuration.warmUp} epochs of warm-up, then half a cosine to 0`,
        `training: ${train.note}`,
        `validation: ${test.note}`,
        `JPEGs decoded by ${train.decoder}`,
        device.description,
        `writing to ${configuration.logDir}`,
      ]),
  });
}
