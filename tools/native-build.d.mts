/** Types of the parts of native-build.mjs that tests use. */

export function buildReason(
  builtAt: number | null,
  sources: readonly { path: string; modifiedAt: number }[],
): string | null;
