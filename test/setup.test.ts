import { readFileSync } from 'node:fs';
import test from 'ava';
import { buildReason } from '../tools/native-build.mjs';
import { ROOT, run } from '../tools/process.mjs';
import { type LockFile, nodeProblem, npmReason } from '../tools/setup.mjs';
import { planSystemPackages, type SystemProbes } from '../tools/system-packages.mjs';

const FASHION = '/usr/share/datasets/fashion-mnist/train-labels-idx1-ubyte.gz';

/** A Debian machine, used by root, that has everything; `changes` says what differs. */
function machine(changes: Partial<SystemProbes> = {}): SystemProbes {
  return {
    isRoot: () => true,
    hasApt: () => true,
    hasCommand: () => true,
    exists: () => true,
    gxxVersion: () => 12,
    canInclude: () => true,
    ...changes,
  };
}

const everything = { needData: true, needFonts: true, needChecks: true };

test('Node: 20.10 is the oldest', (t) => {
  t.is(nodeProblem('v20.10.0'), null);
  t.is(nodeProblem('v20.20.2'), null);
  t.is(nodeProblem('v22.0.0'), null);
  t.regex(nodeProblem('v20.9.1') ?? '', /20\.10 or newer; this is v20\.9\.1/);
  t.regex(nodeProblem('v18.19.0') ?? '', /v18\.19\.0/);
});

test('system packages: nothing to do where nothing is missing', (t) => {
  t.deepEqual(planSystemPackages(machine(), everything), { action: 'none', missing: [], commands: [], message: '' });
  // The user's rights and the kind of system don't matter then.
  t.is(planSystemPackages(machine({ isRoot: () => false, hasApt: () => false }), everything).action, 'none');
});

test('system packages: root on Debian installs exactly what is missing', (t) => {
  const probes = machine({ hasCommand: (name) => name !== 'cmake', exists: () => false, canInclude: () => false });
  const plan = planSystemPackages(probes);
  t.is(plan.action, 'install');
  t.deepEqual(plan.missing, ['cmake', 'libdnnl-dev']);
  t.deepEqual(plan.commands, [
    ['apt-get', 'update'],
    ['apt-get', 'install', '-y', '--no-install-recommends', 'cmake', 'libdnnl-dev'],
  ]);
});

test('system packages: another user on Debian gets one command', (t) => {
  const probes = machine({
    isRoot: () => false,
    hasCommand: () => false,
    gxxVersion: () => null,
    exists: () => false,
    canInclude: () => false,
  });
  const plan = planSystemPackages(probes, everything);
  t.is(plan.action, 'tell');
  t.deepEqual(plan.commands, []);
  const names =
    'g++ make cmake libdnnl-dev dataset-fashion-mnist fonts-dejavu-core clang-format clang-tidy chromium libgloo-dev ' +
    'libjpeg62-turbo-dev';
  t.true(plan.message.includes(`\n  sudo apt-get install -y ${names}\n`), plan.message);
});

test('system packages: elsewhere they are named in general terms', (t) => {
  const plan = planSystemPackages(
    machine({ hasApt: () => false, exists: (path) => !path.includes('dnnl'), canInclude: () => false }),
  );
  t.is(plan.action, 'tell');
  t.regex(plan.message, /oneDNN/);
  t.notRegex(plan.message, /apt-get/);
});

test('system packages: data, fonts and checks only when asked for', (t) => {
  const probes = machine({ exists: (path) => path !== FASHION && !path.includes('fonts') });
  t.deepEqual(planSystemPackages(probes).missing, []);
  t.deepEqual(planSystemPackages(probes, { needData: true }).missing, ['dataset-fashion-mnist']);
  t.deepEqual(planSystemPackages(probes, { needFonts: true }).missing, ['fonts-dejavu-core']);
  const noClang = machine({ hasCommand: (name) => !name.startsWith('clang-') });
  t.deepEqual(planSystemPackages(noClang).missing, []);
  t.deepEqual(planSystemPackages(noClang, { needChecks: true }).missing, ['clang-format', 'clang-tidy']);
  const noBrowser = machine({ hasCommand: (name) => name !== 'chromium' });
  t.deepEqual(planSystemPackages(noBrowser).missing, []);
  t.deepEqual(planSystemPackages(noBrowser, { needChecks: true }).missing, ['chromium']);
});

test('system packages: an old g++ is named', (t) => {
  const plan = planSystemPackages(machine({ isRoot: () => false, gxxVersion: () => 10 }));
  t.deepEqual(plan.missing, ['g++']);
  t.regex(plan.message, /g\+\+ 10 is too old: 12 or newer/);
});

test('system packages: oneDNN outside /usr/include counts', (t) => {
  t.is(planSystemPackages(machine({ exists: () => false })).action, 'none');
});

const linux = { platform: 'linux', arch: 'x64', exists: () => true };

function lockFile(): LockFile {
  return {
    packages: {
      '': { version: '1.0.0' },
      'node_modules/a': { version: '1.0.0', integrity: 'sha512-a' },
      'node_modules/b-linux': { version: '2.0.0', integrity: 'sha512-b', optional: true, os: ['linux'], cpu: ['x64'] },
      'node_modules/b-mac': { version: '2.0.0', integrity: 'sha512-c', optional: true, os: ['darwin'] },
    },
  };
}

/** What npm records on Linux after installing {@link lockFile}. */
function installed(): LockFile {
  const { '': _root, 'node_modules/b-mac': _other, ...packages } = lockFile().packages;
  return { packages };
}

test('npm packages: nothing to do after npm ci, optional packages of other platforms aside', (t) => {
  t.is(npmReason(lockFile(), installed(), linux), null);
});

test('npm packages: missing, outdated, changed, extra, foreign and deleted ones are found', (t) => {
  t.regex(npmReason(lockFile(), null, linux) ?? '', /node_modules is missing/);

  const missing = installed();
  delete missing.packages['node_modules/a'];
  t.is(npmReason(lockFile(), missing, linux), 'node_modules/a is not installed');

  const outdated = installed();
  outdated.packages['node_modules/a'] = { version: '0.9.0', integrity: 'sha512-a' };
  t.is(npmReason(lockFile(), outdated, linux), 'node_modules/a is 0.9.0, package-lock.json says 1.0.0');

  const changed = installed();
  changed.packages['node_modules/a'] = { version: '1.0.0', integrity: 'sha512-x' };
  t.regex(npmReason(lockFile(), changed, linux) ?? '', /node_modules\/a is not the file/);

  const extra = installed();
  extra.packages['node_modules/z'] = { version: '1.0.0' };
  t.regex(npmReason(lockFile(), extra, linux) ?? '', /node_modules\/z is installed, but not in/);

  const mac = { ...linux, platform: 'darwin' };
  t.is(npmReason(lockFile(), installed(), mac), 'node_modules/b-linux was installed for another platform');

  const gone = { ...linux, exists: (path: string) => path !== 'node_modules/a' };
  t.is(npmReason(lockFile(), installed(), gone), 'node_modules/a is gone');
});

test('npm packages: package-lock.json names the optional packages of every platform', (t) => {
  // npm leaves out those that it couldn't fetch when the file was written, and then refuses `npm ci`.
  const { packages }: LockFile = JSON.parse(readFileSync(`${ROOT}/package-lock.json`, 'utf8'));
  const optional = Object.values(packages).flatMap((entry) => Object.keys(entry.optionalDependencies ?? {}));
  const absent = optional.filter(
    (name) => !Object.keys(packages).some((path) => path.endsWith(`node_modules/${name}`)),
  );
  t.deepEqual(absent, []);
});

test('build: only a missing or outdated addon is built', (t) => {
  const sources = [
    { path: 'CMakeLists.txt', modifiedAt: 10 },
    { path: 'native/core/tensor.cpp', modifiedAt: 20 },
  ];
  t.regex(buildReason(null, sources) ?? '', /not built yet/);
  t.is(buildReason(20, sources), null);
  t.is(buildReason(19, sources), 'native/core/tensor.cpp is newer than the native addon');
});

test('run: exit statuses and signals come through', async (t) => {
  t.is(await run(process.execPath, ['-e', 'process.exit(3)']), 3);
  t.is(await run(process.execPath, ['-e', 'process.kill(process.pid, "SIGTERM")']), 143);
  await t.throwsAsync(run('no-such-program-here', []), { message: /could not be started/ });
});

test('npx kalman-norm: anything but build is told how to call it', async (t) => {
  for (const args of [[], ['biuld'], ['build', 'all']]) {
    t.is(await run(process.execPath, [`${ROOT}/tools/kalman-norm.mjs`, ...args], { quiet: true }), 2);
  }
});
