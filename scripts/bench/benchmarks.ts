import { benchAssembler } from './assembler.js';
import type { BenchEngines } from './bench-fleet.js';
import type { BenchResult } from './bench-result.js';
import { benchElasticsearchStore } from './elasticsearch-store.js';
import { benchReads } from './fleet-reads.js';
import { benchSearch } from './fleet-search.js';
import { benchVisibility } from './fleet-visibility.js';
import { benchIngest } from './ingest.js';
import { benchKafkaIngest } from './kafka-ingest.js';
import { benchLog } from './log.js';
import { benchOtlpScan } from './otlp-scan.js';
import { benchRedisIndex } from './redis-index.js';
import { benchRouterSim } from './router-sim.js';
import { benchStore } from './store.js';
import { benchIndex } from './trace-index.js';

export type Benchmarks = Readonly<Record<string, () => Promise<BenchResult>>>;

const EMBEDDED: BenchEngines = { kind: 'embedded' };

/** Those that need no engine, by name, in the order in which they run. */
export const EMBEDDED_BENCHMARKS: Benchmarks = {
  'otlp-scan': benchOtlpScan,
  log: benchLog,
  ingest: benchIngest,
  assembler: () => benchAssembler(),
  visibility: () => benchVisibility(EMBEDDED),
  index: benchIndex,
  store: () => benchStore(),
  'router-sim': benchRouterSim,
  reads: () => benchReads(EMBEDDED),
  search: () => benchSearch(EMBEDDED),
};

/** Those on Kafka, MirrorMaker, Elasticsearch and Redis (`--engines local`), which this machine starts for them; the jars are kept in the folder. */
export function engineBenchmarks(cacheFolder: string): Benchmarks {
  const engines: BenchEngines = { kind: 'local', cacheFolder };
  return {
    'kafka-ingest': () => benchKafkaIngest({ enginesCacheFolder: cacheFolder }),
    'visibility-engines': () => benchVisibility(engines),
    elasticsearch: () => benchElasticsearchStore(cacheFolder),
    'redis-index': benchRedisIndex,
    'reads-engines': () => benchReads(engines),
    'search-engines': () => benchSearch(engines),
  };
}
