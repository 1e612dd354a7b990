/**
 * `npm run release:check [-- --build] [-- --node PATH]`: packs what would be published and uses it as a stranger does: npm
 * installs it into an empty project, from a registry that has nothing else, with nothing but Node.js on PATH and no install
 * script allowed. There a strict TypeScript program trains (ES module) and another predicts (CommonJS). Then the prebuilt
 * addon is left out, and the remedy that the error names is followed.
 *
 * `--build` follows the other remedy too, with compilers on PATH: `npx kalman-norm build` takes minutes. `--node` is another
 * Node.js to use the packages with.
 */

import { existsSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ROOT, runScript, SetupError, say } from '../process.mjs';
import { wrongContents } from './contents.mjs';
import { OF_THE_SYSTEM, pack } from './pack.mjs';
import { Project } from './project.mjs';
import { startRegistry } from './registry.mjs';

const { name } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));

await runScript(async () => {
  const options = { build: { type: 'boolean' }, node: { type: 'string', default: process.execPath } };
  const { build, node } = parseArgs({ options }).values;

  const tarballs = await pack();
  const wrong = wrongContents(tarballs);
  if (wrong.length > 0) throw new SetupError(`The contents of the packages:\n${wrong.join('\n')}`);

  const registry = await startRegistry(tarballs);
  const project = new Project(registry.url, realpathSync(node));
  try {
    await project.run(`npm install --ignore-scripts ${name}`);
    await project.compile();
    await project.run('node train.mjs');
    const ofNode = await project.run("node -p 'JSON.stringify(process.report.getReport().sharedObjects)'");
    checkLibraries(await project.run('node predict.cjs'), project.folder, JSON.parse(ofNode));
    const alone = await project.run('npx kalman-norm launch --processes 2 group.mjs', { fails: true });
    if (!/DEVICE_UNAVAILABLE.*libgloo-dev, then npx kalman-norm build/s.test(alone)) {
      throw new SetupError('Expected that launch says what process groups need, and the remedy.');
    }
    // The loader takes the addon for processors without AVX2 where the other isn't there.
    rmSync(join(project.folder, 'node_modules', `@${name}`, `${process.platform}-${process.arch}`, 'kalman_norm.node'));
    await project.run('node train.mjs && node predict.cjs');

    for (const made of ['node_modules', 'package-lock.json']) rmSync(join(project.folder, made), { recursive: true });
    await project.run(`npm install --omit=optional ${name}`);
    const [install, compile] = remedies(await project.run('node predict.cjs', { fails: true }));
    await project.run('npx kalman-norm', { fails: true });
    if (build) {
      await project.run(compile, { path: process.env.PATH });
      await project.run('node predict.cjs');
      rmSync(join(project.folder, 'node_modules', name, 'build'), { recursive: true });
    }
    await project.run(install);
    await project.run('node predict.cjs');
  } finally {
    registry.close();
    project.remove();
  }
  say('The packages work as they would be published.');
});

/** The commands that an error of the loader names: to install the prebuilt addon, and to compile one. */
function remedies(output) {
  const lines = output.slice(output.indexOf('What helps:')).split('\n');
  const commands = lines.map((line) => line.trim().split(/ {2,}/)[0]).filter((line) => /^np[mx] /.test(line));
  if (!/DEVICE_UNAVAILABLE/.test(output) || commands.length !== 2)
    throw new SetupError('Expected an error with two remedies.');
  return commands;
}

/**
 * Refuses libraries that are the system's and that not every system has. The program prints those it has mapped; `ofNode`
 * are those that Node.js itself needs.
 */
function checkLibraries(output, folder, ofNode) {
  const mapped = JSON.parse(output.split('\n').find((line) => line.startsWith('[')));
  const own = mapped.filter((path) => path.startsWith(folder));
  const expected = new Set([...own, ...ofNode.filter((path) => existsSync(path)).map((path) => realpathSync(path))]);
  const foreign = mapped.filter((path) => !expected.has(path) && !OF_THE_SYSTEM.test(path.split('/').at(-1)));
  if (own.length < 2 || foreign.length > 0) throw new SetupError(`Loaded from elsewhere: ${foreign.join(', ')}`);
}
