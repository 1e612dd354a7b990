import Table from 'cli-table3';
import type { Summary } from './statistics.js';

/** A measured figure. */
export interface Row extends Summary {
  /** Of the case, and what of it was measured. */
  name: string;
  unit: 'ms' | '%' | 'MiB';
  imagesPerSecond?: number;
  /** Bytes that must move in 10^9 a second: every input once in, every output once out. */
  gigabytesPerSecond?: number;
  /** The same as a share of what a copy of a tensor of this size reaches. */
  ofCopy?: number;
  /** Such as what the figure should be. */
  note?: string;
}

/** A table of text for the terminal. */
export function renderTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const table = new Table({ head: [...head], style: { head: [], border: [], compact: true } });
  for (const row of rows) table.push([...row]);
  return table.toString();
}

/** Rows as {@link renderTable} shows them. */
export function renderRows(rows: readonly Row[]): string {
  return renderTable(['', 'median', 'p25 – p75', 'rate', 'of copy', ''], rows.map(cells));
}

/** One row's cells. */
export function cells(row: Row): string[] {
  return [
    row.name,
    `${digits(row.median)} ${row.unit}`,
    `${digits(row.p25)} – ${digits(row.p75)}`,
    rate(row),
    row.ofCopy === undefined ? '' : `${(100 * row.ofCopy).toFixed(0)} %`,
    row.note ?? '',
  ];
}

/** A number with three digits or more, whatever its size. */
export function digits(value: number): string {
  if (!Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const places = 2 - Math.floor(Math.log10(Math.abs(value)));
  return value.toFixed(Math.min(Math.max(places, 0), 6));
}

function rate({ imagesPerSecond, gigabytesPerSecond }: Row): string {
  if (imagesPerSecond !== undefined) return `${digits(imagesPerSecond)} images/s`;
  if (gigabytesPerSecond !== undefined) return `${digits(gigabytesPerSecond)} GB/s`;
  return '';
}
