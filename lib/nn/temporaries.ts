/** Frees, at the end of a forward, what was made on the way; the tape keeps what backward needs. @internal */
export class Temporaries {
  private readonly values: { dispose(): void }[] = [];

  use<T extends { dispose(): void } | null>(value: T): T {
    if (value) this.values.push(value);
    return value;
  }

  dispose(): void {
    for (const value of this.values) value.dispose();
  }
}
