/** An empty project of a stranger, and what may be done in it. */

import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { ROOT, SetupError, say } from '../process.mjs';

const CONSUMER = join(ROOT, 'tools', 'release', 'consumer');
/** All that is on PATH there, beside node: no compiler, no CMake. */
const COMMANDS = ['npm', 'npx', 'sh', 'env'];

export class Project {
  /**
   * Makes one in a temporary folder.
   *
   * @param registry address of the only registry that its npm knows
   * @param node the Node.js to use
   */
  constructor(registry, node) {
    this.top = mkdtempSync(join(tmpdir(), 'kalman-norm-release-'));
    this.folder = join(this.top, 'project');
    this.registry = registry;
    const bin = join(this.top, 'bin');
    mkdirSync(bin);
    symlinkSync(node, join(bin, 'node'));
    for (const name of COMMANDS) symlinkSync(programOf(name), join(bin, name));
    this.path = bin;
    cpSync(CONSUMER, this.folder, { recursive: true });
    writeFileSync(join(this.folder, 'package.json'), '{ "name": "project", "private": true, "type": "module" }\n');
  }

  /** Compiles the programs strictly; what the library declares is checked too. */
  async compile() {
    const flags = ['--strict', '--noUncheckedIndexedAccess', '--noImplicitOverride'];
    const target = ['--module', 'nodenext', '--target', 'es2022', '--lib', 'es2023,esnext.disposable'];
    const types = ['--types', 'node', '--typeRoots', join(ROOT, 'node_modules', '@types')];
    const tsc = join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc');
    await this.run(`node ${[tsc, ...flags, ...target, ...types].join(' ')} train.mts predict.cts group.mts`);
  }

  /**
   * Runs a command line of the shell there and gives what it printed.
   *
   * @param options.fails it has to fail, not to succeed
   * @param options.path what else is on PATH
   */
  async run(line, { fails = false, path = '' } = {}) {
    say(`$ ${line}`);
    const env = {
      PATH: [this.path, path].filter(Boolean).join(delimiter),
      HOME: this.top,
      npm_config_registry: this.registry,
      npm_config_audit: 'false',
      npm_config_fund: 'false',
      npm_config_update_notifier: 'false',
    };
    const child = spawn('/bin/sh', ['-c', line], { cwd: this.folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text;
      });
    }
    const code = await new Promise((resolve) => child.on('close', resolve));
    if (output) say(output.trimEnd());
    if ((code === 0) === fails)
      throw new SetupError(`Expected it to ${fails ? 'fail' : 'succeed'}; exit status ${code}.`);
    return output;
  }

  remove() {
    rmSync(this.top, { recursive: true });
  }
}

/** The file of a program on PATH, behind its links: npm finds itself by it. */
function programOf(name) {
  const files = process.env.PATH.split(delimiter).map((folder) => join(folder, name));
  const file = files.find((path) => existsSync(path));
  if (!file) throw new SetupError(`${name} is not on PATH.`);
  return realpathSync(file);
}
