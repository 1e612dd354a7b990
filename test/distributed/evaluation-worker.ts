/**
 * A process of a group that trains a little and evaluates, by itself and with the others: `evaluation-worker.ts IMAGES DEVICE`.
 * It prints what came of it, and whether its statistics were left alone.
 */
import { CifarResNet, openDevice, openProcessGroup, Sgd, syntheticDataset, Trainer } from '../../lib/index.js';

const [images = '', name = 'cpu'] = process.argv.slice(2);
const device = openDevice(name, { threads: 1 });
const group = await openProcessGroup({ device, timeout: 120 });
const dataset = syntheticDataset({ classes: 4, train: 32, test: Number(images), size: 16 });
const model = new CifarResNet(device, { n: 1, norm: { type: 'batch' }, classes: 4, seed: 1 });
const optimizer = new Sgd(device, model.namedParameters(), 0.02);
const options = { device, model, optimizer, dataset, batchSize: 16 };
const trainer = new Trainer({ ...options, group });
await trainer.trainEpoch(1);

const statistics = async () =>
  JSON.stringify(
    await Promise.all([...model.namedBuffers().values()].map(async (buffer) => [...(await buffer.data())])),
  );
const before = await statistics();
const together = await trainer.evaluate();
const kept = (await statistics()) === before;
const stopped = await trainer.evaluate(group.rank === 1 ? { signal: AbortSignal.abort() } : {});
// Each by its own averages; those of rank 0 are what the others' figures come from, too.
const alone = await new Trainer(options).evaluate();
console.log(JSON.stringify({ rank: group.rank, together, alone, kept, stopped: stopped.steps }));
group.close();
