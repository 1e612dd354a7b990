import { check, KalmanNormError } from './errors.js';
import { shown } from './shown.js';

/**
 * The names of all options that a type has: a table that doesn't compile where one is missing or too many.
 *
 * @internal
 */
export type OptionNames<Options> = { readonly [Name in keyof Options]-?: true };

/**
 * Refuses options that nobody would read, such as misspelled ones from plain JavaScript. One that is undefined does
 * nothing, whatever its name.
 *
 * Where it is called for every operation, `names` is a constant of the file: one look a name, and nothing is allocated.
 *
 * @param owner whom messages name
 * @throws KalmanNormError `INVALID_ARGUMENT` for what has no properties, or has one that isn't among the names
 * @internal
 */
export function checkOptions<Options extends object>(
  owner: string,
  options: Options,
  names: OptionNames<NoInfer<Options>>,
): void {
  check(
    typeof options === 'object' && options !== null,
    'INVALID_ARGUMENT',
    () => `${owner}: options must be an object, got ${shown(options)}`,
  );
  for (const name in options) {
    if (!Object.hasOwn(names, name) && options[name] !== undefined) refuse(owner, name, Object.keys(names));
  }
}

function refuse(owner: string, name: string, names: readonly string[]): never {
  const near = nearest(name, names);
  const hint = near === null ? `there are ${names.join(', ')}` : `did you mean "${near}"?`;
  throw new KalmanNormError('INVALID_ARGUMENT', `${owner}: there is no option ${JSON.stringify(name)}; ${hint}`);
}

/** The name that takes the fewest edits to reach, if that is less than half of it. @internal */
export function nearest(text: string, names: readonly string[]): string | null {
  const plain = (name: string) => name.toLowerCase().replaceAll(/[-_]/g, '');
  const ranked = names
    .map((name) => ({ name, edits: distance(plain(text), plain(name)) }))
    .filter(({ name, edits }) => edits < plain(name).length / 2)
    .sort((a, b) => a.edits - b.edits);
  return ranked[0]?.name ?? null;
}

/** Levenshtein's distance: insertions, deletions and replacements. */
function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = (row[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1);
      next[j] = Math.min(replaced, (row[j] as number) + 1, (next[j - 1] as number) + 1);
    }
    row = next;
  }
  return row[b.length] as number;
}
