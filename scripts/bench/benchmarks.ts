import { benchAssembler } from './assembler.js';
import type { BenchResult } from './bench-result.js';
import { benchReads } from './fleet-reads.js';
import { benchSearch } from './fleet-search.js';
import { benchVisibility } from './fleet-visibility.js';
import { benchIngest } from './ingest.js';
import { benchLog } from './log.js';
import { benchOtlpScan } from './otlp-scan.js';
import { benchRouterSim } from './router-sim.js';
import { benchStore } from './store.js';
import { benchIndex } from './trace-index.js';

/** All benchmarks by name, in the order in which they run. */
export const BENCHMARKS: Readonly<Record<string, () => Promise<BenchResult>>> = {
  'otlp-scan': benchOtlpScan,
  log: benchLog,
  ingest: benchIngest,
  assembler: () => benchAssembler(),
  visibility: benchVisibility,
  index: benchIndex,
  store: () => benchStore(),
  'router-sim': benchRouterSim,
  reads: benchReads,
  search: benchSearch,
};
