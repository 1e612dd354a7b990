import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { KalmanNormError } from '../errors.js';
import type { Addon } from './contract.js';

/** What of package.json says where an addon may lie. */
interface Manifest {
  name: string;
  version: string;
  /** Not in the registry: a checkout. */
  private?: boolean;
  optionalDependencies?: Record<string, string>;
}

/** Why a place gave no addon, and what would help. */
interface Failure {
  place: string;
  cause: string;
  remedies: string[];
}

/** An addon that is loaded. */
interface Found {
  readonly addon: Addon;
  readonly folder: string;
  /** The command that builds it anew, with what it was built without. */
  readonly build: string;
}

/** The machine that an addon is wanted for; tests make some up. */
export interface Platform {
  os: string;
  arch: string;
  /** Of glibc; null where the C library is another. */
  glibc: string | null;
}

/** This machine. */
export function thisPlatform(): Platform {
  const { platform: os, arch } = process;
  return {
    os,
    arch,
    get glibc() {
      // Looked at for a message only: the report takes milliseconds.
      const report = process.report.getReport() as { header?: { glibcVersionRuntime?: string } };
      return report.header?.glibcVersionRuntime ?? null;
    },
  };
}

/**
 * Finds and loads the native addon of a package: one that was built in it, else the prebuilt one of this platform's
 * package, `@kalman-norm/linux-x64` and its like, which npm installs as an optional dependency.
 *
 * @param root the package's folder
 * @returns the addon, the folder that it and others beside it lie in, and how to build it anew
 * @throws KalmanNormError `DEVICE_UNAVAILABLE` where neither can be used: each place with the cause, then the remedies
 */
export function findAddon(root: string, platform = thisPlatform()): Found {
  const manifest = readManifest(root);
  const failures: Failure[] = [];
  for (const attempt of [builtAddon, prebuiltAddon]) {
    const result = attempt(root, manifest, platform);
    if ('addon' in result) return result;
    failures.push(result);
  }
  throw new KalmanNormError('DEVICE_UNAVAILABLE', explain(failures, platform));
}

/** Addon or failure of `npx kalman-norm build`, in a checkout of `npm run build:native`. */
function builtAddon(root: string, manifest: Manifest): Found | Failure {
  const place = join(root, 'build', 'Release', 'kalman_norm.node');
  const remedies = [buildRemedy(manifest)];
  if (!existsSync(place)) return { place, cause: 'nothing was built here', remedies };
  return load(dirname(place), place, manifest, remedies);
}

/** Addon or failure of the package that has the prebuilt addon for this platform. */
function prebuiltAddon(root: string, manifest: Manifest, platform: Platform): Found | Failure {
  const name = `@${manifest.name}/${platform.os}-${platform.arch}`;
  const wanted = manifest.optionalDependencies?.[name];
  const build = buildRemedy(manifest);
  let folder: string;
  try {
    folder = dirname(createRequire(join(root, 'package.json')).resolve(`${name}/package.json`));
  } catch {
    if (!wanted) return { place: name, cause: 'there is no prebuilt addon for this platform', remedies: [build] };
    if (platform.os === 'linux' && platform.glibc === null) {
      return { place: name, cause: 'prebuilt addons need glibc, which this system does not have', remedies: [build] };
    }
    return {
      place: name,
      cause: 'not installed: npm left out optional dependencies, or the lock file was made on another platform',
      remedies: [`npm install --include=optional ${manifest.name}@${manifest.version}`, build],
    };
  }
  const { version } = readManifest(folder);
  if (wanted && version !== wanted) {
    const cause = `version ${version}, but ${manifest.name} ${manifest.version} needs ${wanted}`;
    return { place: folder, cause, remedies: [`npm install ${manifest.name}@${manifest.version}`] };
  }
  return load(folder, folder, manifest, [build]);
}

/** Loads the best addon in a folder that this processor can run, if it is of the version that is wanted. */
function load(folder: string, place: string, manifest: Manifest, remedies: string[]): Found | Failure {
  const require = createRequire(join(folder, 'package.json'));
  try {
    const { builds } = require('./kalman_norm_preload.node') as { builds: readonly string[] };
    const build = builds.find((name) => existsSync(join(folder, name)));
    // Building it again here would make the same.
    if (!build) return { place, cause: "it needs a processor with AVX2 and FMA, which this isn't", remedies: [] };
    const addon = require(`./${build}`) as Addon;
    if (addon.version !== manifest.version) {
      const cause = `built from ${addon.version ?? 'an older version'}, but this is ${manifest.version}`;
      return { place, cause, remedies };
    }
    addon.setErrorClass(KalmanNormError);
    Object.setPrototypeOf(addon, refusing(place, remedies));
    return { addon, folder, build: buildCommand(manifest) };
  } catch (error) {
    return { place, cause: (error as Error).message.split('\n')[0] as string, remedies };
  }
}

/**
 * What an addon inherits from: functions that it lacks throw, in place of being undefined. They are missing where the
 * sources have changed within a version, as in a checkout, and what was built has not. Those that are there are found
 * before, and cost nothing.
 */
function refusing(place: string, remedies: readonly string[]): object {
  return new Proxy(Object.prototype, {
    get(target, name, receiver) {
      // Promises and JSON look whether a value has these.
      if (typeof name === 'symbol' || name in target || name === 'then' || name === 'toJSON') {
        return Reflect.get(target, name, receiver);
      }
      const help = remedies.map((remedy) => `\n  ${remedy}`).join('');
      const message = `${place} lacks "${name}": it was built from other sources. What helps:${help}`;
      throw new KalmanNormError('DEVICE_UNAVAILABLE', message);
    },
  });
}

function buildCommand(manifest: Manifest): string {
  return manifest.private ? 'npm run build:native' : 'npx kalman-norm build';
}

function buildRemedy(manifest: Manifest): string {
  const command = buildCommand(manifest);
  return manifest.private ? command : `${command}   (compiles it here, and says what is missing for that)`;
}

function readManifest(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

function explain(failures: readonly Failure[], { os, arch, glibc }: Platform): string {
  const system =
    os === 'linux' ? `${os}-${arch} (${glibc === null ? 'not glibc' : `glibc ${glibc}`})` : `${os}-${arch}`;
  const remedies = [...new Set(failures.toReversed().flatMap((failure) => failure.remedies))];
  return [
    `The native addon can't be loaded on ${system}, Node ${process.version}. Tried:`,
    ...failures.map(({ place, cause }) => `  ${place}: ${cause}`),
    ...(remedies.length > 0 ? ['What helps:', ...remedies.map((remedy) => `  ${remedy}`)] : []),
  ].join('\n');
}
