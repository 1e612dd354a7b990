/**
 * Runs all cases of a folder of golden files.
 */
import { check, KalmanNormError } from '../../lib/errors.js';
import type { Device } from '../../lib/index.js';
import { blockCheck } from './block.js';
import { Case, type CaseResult } from './case.js';
import { caseTolerances, modelTolerances } from './compare.js';
import { convolutionCheck } from './convolution.js';
import { Fields, type GoldenFile, readFolder } from './files.js';
import { layerCheck } from './layers.js';
import { checkNetwork, networkTitle } from './network.js';
import { shortTolerances } from './short.js';

/** Options of {@link runGolden}. */
export interface GoldenOptions {
  /** Run only cases whose FILE/CASE contains this; default: all. */
  readonly filter?: string | undefined;
}

/**
 * Runs all cases of a folder, one after the other. What can't be read, isn't known or is left over is a failed result,
 * under the name of its file or case.
 *
 * @throws KalmanNormError `FILE_NOT_FOUND` as `readFolder`, `INVALID_ARGUMENT` where no case fits the filter
 */
export async function* runGolden(dir: string, device: Device, options: GoldenOptions = {}): AsyncGenerator<CaseResult> {
  const { filter = '' } = options;
  const { files, faults } = await readFolder(dir);
  for (const { name, reason } of faults) yield failure(name, [reason]);
  const companions = new Set(files.flatMap(({ json }) => companionNames(json)));

  let count = 0;
  for (const file of files.filter(({ name }) => !companions.has(name))) {
    for (const { id, run } of casesOf(file, files, device)) {
      if (!id.includes(filter)) continue;
      count++;
      yield await run();
    }
  }
  const missing = filter === '' ? `DIR: ${dir} holds no cases` : `--filter: no case's name contains "${filter}"`;
  check(count > 0 || faults.length > 0, 'INVALID_ARGUMENT', missing);
  // With a filter, the cases that read the rest may not have run.
  if (filter !== '') return;
  for (const { name, recording, json } of files.filter((file) => companions.has(file.name))) {
    const left = recording.unused().map((tensor) => `tensor ${tensor} wasn't read by any case`);
    const declared = Fields.of(`${name}.json`, json.value('tensors') ?? {});
    const problems = [...recording.differences(declared), ...left];
    if (problems.length > 0) yield failure(name, problems);
  }
}

function failure(id: string, faults: readonly string[]): CaseResult {
  return { id, comparisons: [], faults };
}

/** The files that a file takes further inputs from. */
function companionNames(json: Fields): string[] {
  return ['inputs_file', 'init_file'].map((key) => json.value(key)).filter((value) => typeof value === 'string');
}

/** A case that hasn't run. */
interface Pending {
  readonly id: string;
  run(): Promise<CaseResult>;
}

/** The cases of a file, by its title; where they can't be told, one that fails. */
function casesOf(file: GoldenFile, files: readonly GoldenFile[], device: Device): Pending[] {
  const { name, json } = file;
  const failing = (fault: string) => [{ id: name, run: async () => failure(name, [fault]) }];
  const title = String(json.value('title'));
  if (networkTitle.test(title)) return [networkCase(file, files, device)];
  const family = /^(A|B|C1|C2): /.exec(title)?.[1];
  if (!family) return failing(`unknown title ${JSON.stringify(title)}, and no other file takes inputs from this one`);
  try {
    const cases = listedCases(file, family, device);
    return cases.length > 0 ? cases : failing('there are no cases in it');
  } catch (error) {
    return failing(reasonOf(error));
  }
}

/** What a person needs to know of an error; for one of the program, rather than of its input, with its type. */
function reasonOf(error: unknown): string {
  return error instanceof KalmanNormError ? error.message : String(error);
}

/** Names of gradients whose true value is zero. */
function zeroGradients(entry: Fields): string[] {
  return entry.has('structurally_zero_grads') ? entry.list('structurally_zero_grads').map(String) : [];
}

/** Runs a check, with whatever it throws as a fault. */
async function finish(id: string, c: Case, body: () => Promise<void>): Promise<CaseResult> {
  try {
    await body();
  } catch (error) {
    c.faults.push(reasonOf(error));
    return { id, comparisons: c.comparisons, faults: c.faults };
  }
  return c.finish(id);
}

function networkCase({ name, json, recording }: GoldenFile, files: readonly GoldenFile[], device: Device): Pending {
  const companion = (key: string) => {
    const wanted = json.text(key);
    const found = files.find((file) => file.name === wanted);
    check(found !== undefined, 'FILE_NOT_FOUND', `${key}: ${wanted} is not among the readable files of the folder`);
    return found.recording;
  };
  const run = () => {
    const c = new Case(
      device,
      json,
      recording,
      shortTolerances(device.precision, 'D') ?? modelTolerances(json),
      zeroGradients(json),
    );
    return finish(name, c, async () => {
      c.faults.push(...recording.differences(json.object('tensors')));
      const init = json.has('init_file') ? companion('init_file') : null;
      await checkNetwork(c, { inputs: companion('inputs_file'), init });
    });
  };
  return { id: name, run };
}

const checks: Readonly<Record<string, { key: string; find: typeof layerCheck }>> = {
  A: { key: 'layer', find: layerCheck },
  B: { key: 'layer', find: layerCheck },
  C1: { key: 'what', find: convolutionCheck },
  C2: { key: 'what', find: blockCheck },
};

function listedCases({ name, json, recording }: GoldenFile, family: string, device: Device): Pending[] {
  const { key, find } = checks[family]!;
  const cases = json.object('cases');
  const tolerances = shortTolerances(device.precision, family) ?? caseTolerances(json);
  const pending = cases.keys().map((label): Pending => {
    const id = `${name}/${label}`;
    const part = recording.part(label);
    const run = () => {
      const entry = Fields.of(`${name}.json: ${label}`, cases.value(label));
      const fields = entry.object('hyper');
      const c = new Case(device, fields, part, tolerances, zeroGradients(entry));
      return finish(id, c, async () => {
        c.faults.push(...part.differences(entry.object('tensors')));
        const body = find(fields.text(key));
        check(body !== null, 'FILE_CORRUPT', () => `unknown ${key} ${JSON.stringify(fields.text(key))}`);
        await body(c);
      });
    };
    return { id, run };
  });
  const strays = recording.names().filter((tensor) => !cases.keys().includes(tensor.slice(0, tensor.indexOf('/'))));
  if (strays.length > 0) {
    const faults = [`tensors of no case in the JSON file: ${strays.join(', ')}`];
    pending.push({ id: name, run: async () => failure(name, faults) });
  }
  return pending;
}
