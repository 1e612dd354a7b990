/** Fields of a configuration that say how a run goes, not what it gives. */
export const incidental: readonly string[] = [
  'flags',
  'resume',
  'force',
  'overwrite',
  'checkpointEvery',
  'keep',
  'histograms',
  'diagnose',
  'verify',
  'decodeThreads',
  'parallel',
  'imageMemory',
];
