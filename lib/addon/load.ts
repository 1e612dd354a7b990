import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Addon } from './contract.js';
import { findAddon } from './find.js';

/** The package's folder: this file lies in lib/addon of a checkout, and in dist/lib/addon of a package. */
const here = dirname(fileURLToPath(import.meta.url));
const root = [join(here, '..', '..'), join(here, '..', '..', '..')].find((folder) =>
  existsSync(join(folder, 'package.json')),
) as string;

const { addon, folder, build } = findAddon(root);
/** The native addon; loaded with the module. */
export const native: Addon = addon;
/** Where it lies: built on this machine, or of the package for this platform. */
export const addonFolder: string = folder;
/** Where what is built on this machine lies: the libraries of further devices. */
export const buildFolder: string = join(root, 'build', 'Release');
/** The command that builds the addon anew, with what it was built without. */
export const buildCommand: string = build;
