/**
 * What a step of many GPUs takes, by formula (docs/scale.md). Times in seconds, sizes in bytes.
 */

/** How devices reach each other: the time until the first byte of a message comes, and bytes in a second from there on. */
export interface Network {
  latency: number;
  bandwidth: number;
}

/** What of a network decides what its step sends. */
export interface Traffic {
  /** Of all gradients together. */
  gradientBytes: number;
  /** Channels of each normalization. */
  channels: readonly number[];
}

/** What a step sends that isn't one process's alone. */
export interface Collectives {
  /** How many times all processes wait for each other. */
  count: number;
  /** That each process gives. */
  bytes: number;
  seconds: number;
}

/**
 * The time of an all-reduce: the faster of a ring, 2 (N - 1) messages of bytes / N, and a tree, there and back, whose
 * parts follow each other (Thakur, Rabenseifner and Gropp 2005).
 */
export function allReduceTime(processes: number, bytes: number, { latency, bandwidth }: Network): number {
  if (processes === 1) return 0;
  const ring = 2 * (processes - 1) * (latency + bytes / processes / bandwidth);
  const tree = 2 * (Math.ceil(Math.log2(processes)) * latency + bytes / bandwidth);
  return Math.min(ring, tree);
}

/** Gradients, which every normalization sends: one message, as if all were ready at once. */
export function gradients(processes: number, { gradientBytes }: Traffic, network: Network): Collectives {
  if (processes === 1) return none;
  return { count: 1, bytes: gradientBytes, seconds: allReduceTime(processes, gradientBytes, network) };
}

/**
 * What synchronized batch normalization sends beyond that: for each layer sums, squares and a count in the forward pass, two
 * sums a channel in the backward pass. Whatever comes after waits for them.
 */
export function syncBatchNorm(processes: number, { channels }: Traffic, network: Network): Collectives {
  if (processes === 1) return none;
  const messages = channels.flatMap((count) => [4 * (2 * count + 1), 4 * 2 * count]);
  return {
    count: messages.length,
    bytes: messages.reduce((sum, bytes) => sum + bytes, 0),
    seconds: messages.reduce((sum, bytes) => sum + allReduceTime(processes, bytes, network), 0),
  };
}

/** The network whose ring of two processes takes these times for a short and for a long message. */
export function fitNetwork(
  short: { bytes: number; seconds: number },
  long: { bytes: number; seconds: number },
): Network {
  // A ring of two sends two messages of half the bytes.
  const bandwidth = (long.bytes - short.bytes) / (long.seconds - short.seconds);
  return { latency: (short.seconds - short.bytes / bandwidth) / 2, bandwidth };
}

const none: Collectives = { count: 0, bytes: 0, seconds: 0 };
