/** Damage to bytes and to JSON, as accidents and attackers do it. */

import type { TestRandom } from '../support/random.js';

/** One of a list. */
export function pick<T>(random: TestRandom, list: readonly T[]): T {
  return list[random.below(list.length)] as T;
}

/** What JSON can say and a JavaScript value can't: written where its name stands as a text. */
const raw: Readonly<Record<string, string>> = {
  '\u0001deep': `${'['.repeat(20_000)}${']'.repeat(20_000)}`,
  '\u0001deeper': `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`,
  '\u0001infinite': '1e999',
  '\u0001negative zero': '-0',
  '\u0001long': `"${'x'.repeat(5000)}"`,
  '\u0001list': `[${'1,'.repeat(5000)}1]`,
};

/** Values that a reader may trip over; functions, as arrays and objects are changed in place. */
const hostile: readonly ((random: TestRandom) => unknown)[] = [
  (random) => pick(random, Object.keys(raw)),
  (random) => pick(random, [null, true, false, '', 0, 1, -1, 0.5]),
  (random) => pick(random, [2 ** 20, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63, 1e308, -1e308, 5e-324]),
  (random) => pick(random, ['F32', 'F16', 'BOOL', 'F8_E4M3', 'constructor', '__proto__', 'toString', '\0', '\u2028']),
  () => [],
  () => ({}),
  () => [[]],
  // Whoever puts it into a text calls what isn't callable.
  () => ({ toString: 1, valueOf: 1, constructor: { name: { toString: 1 } }, toJSON: 1, length: 2 ** 32 }),
  (random) => Array.from({ length: random.below(300) }, () => 2 ** random.below(54)),
];

type Node = Record<string, unknown> | unknown[];

/** A value of JSON with a few places changed: replaced, removed, doubled, moved, renamed. */
export function mutateJson(random: TestRandom, value: unknown): unknown {
  const root = { value: structuredClone(value) };
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const nodes: Node[] = [];
    collect(root, nodes);
    const node = pick(random, nodes);
    const keys = Object.keys(node);
    const key = pick(random, keys) ?? 'value';
    const slots = node as Record<string, unknown>;
    const other = pick(random, nodes);
    const change = keys.length === 0 ? 0 : random.below(12);
    if (change === 0) slots[Array.isArray(node) ? node.length : 'added'] = 1;
    else if (change === 1 && node !== root) {
      if (Array.isArray(node)) node.splice(Number(key), 1);
      else delete slots[key];
    } else if (change === 2) slots[key] = structuredClone(pick(random, Object.values(other)));
    else if (typeof slots[key] === 'number' && change < 7) {
      slots[key] = (slots[key] as number) + pick(random, [-1, 1, 4, 2 ** 32]);
    } else slots[key] = pick(random, hostile)(random);
  }
  return root.value;
}

function collect(node: object, into: Node[]): void {
  into.push(node as Node);
  for (const value of Object.values(node)) if (typeof value === 'object' && value !== null) collect(value, into);
}

/** The text of a value as {@link mutateJson} leaves it. */
export function writeJson(value: unknown): string {
  // Null where the value is none, such as a slot that was never filled.
  const text = JSON.stringify(value) ?? 'null';
  return text.includes('"\\u0001')
    ? text.replaceAll(/"\\u0001([a-z ]+)"/g, (_, name) => raw[`\u0001${name}`] ?? '0')
    : text;
}

/** Bytes with a few of them changed: set, flipped, put in, cut out, doubled, cut off. */
export function mutateBytes(random: TestRandom, bytes: Uint8Array): Uint8Array {
  let result = Buffer.from(bytes);
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const at = random.below(result.length + 1);
    const count = random.below(1 + Math.min(16, result.length - at));
    const [before, after] = [result.subarray(0, at), result.subarray(at)];
    const added = () =>
      Buffer.from(Array.from({ length: 1 + random.below(8) }, () => pick(random, interesting(random))));
    switch (random.below(6)) {
      case 0:
        result = Buffer.concat([before, added(), after]);
        break;
      case 1:
        result = Buffer.concat([before, after.subarray(count)]);
        break;
      case 2:
        result = Buffer.concat([before, after.subarray(0, count), after]);
        break;
      case 3:
        if (random.below(4) === 0) result = Buffer.from(before);
        break;
      default:
        if (at < result.length) result[at] = random.below(2) ? result[at]! ^ (1 << random.below(8)) : random.below(256);
    }
  }
  return new Uint8Array(result);
}

const marks = [...'"{}[]:,\\0-eE.'].map((mark) => mark.charCodeAt(0));
const interesting = (random: TestRandom) => [0, 255, 0x80, random.below(256), pick(random, marks), pick(random, marks)];
