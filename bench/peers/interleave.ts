/** Someone who takes turns. */
export interface Candidate {
  name: string;
  /** Makes training steps. @returns the seconds that they took */
  run(steps: number): Promise<number>;
}

/** What a candidate did. */
export interface Result {
  name: string;
  /** Steps of a turn. */
  steps: number;
  /** Seconds of a step, one value a round. */
  seconds: number[];
}

/**
 * Lets candidates run in turns, A, B, C, A, B, C: so that all see the machine's good and bad minutes alike. One runs at a
 * time. A turn begins with a step that isn't timed, for caches that the others have used.
 *
 * @param options.turn seconds of a turn, about
 * @param options.onTurn called before each
 */
export async function interleave(
  candidates: readonly Candidate[],
  options: { rounds: number; turn: number; onTurn?: (round: number, name: string) => void },
): Promise<Result[]> {
  const { rounds, turn, onTurn } = options;
  const results: Result[] = [];
  for (const { name, run } of candidates) {
    onTurn?.(0, name);
    await run(1);
    const seconds = await run(1);
    results.push({ name, steps: Math.max(1, Math.round(turn / seconds)), seconds: [] });
  }
  for (let round = 1; round <= rounds; round++) {
    for (const [i, { name, run }] of candidates.entries()) {
      const result = results[i] as Result;
      onTurn?.(round, name);
      await run(1);
      result.seconds.push((await run(result.steps)) / result.steps);
    }
  }
  return results;
}
