import { Registry } from 'prom-client';
import type { IndexDigests } from '../../../global/index/trace-index.js';
import type { PartitionCounts } from '../../../global/log/topics.js';
import type { RegionId } from '../../../global/model/ids.js';
import { plaintext } from '../../../global/runtime/channel-security.js';
import { realClock as clock } from '../../../global/runtime/clock.js';
import { noCrash } from '../../../global/runtime/crash-points.js';
import { silentLogger as logger } from '../../../global/runtime/logger.js';
import { keepAll } from '../../../global/sampling/sampling-policy.js';
import { createLivePeerClient } from '../../api/live-peer-client.js';
import { LivePeers } from '../../api/live-peers.js';
import { PeeredLive } from '../../api/peered-live.js';
import { createRegionApiServer } from '../../api/region-api-server.js';
import { RegionReads } from '../../api/region-reads.js';
import { createCollector } from '../../collector/collector.js';
import { openKafkaSpanLog } from '../../log/kafka-span-log.js';
import { createAssembler } from '../assembler.js';

/** What a process of a scaled-out region is told, as JSON, in its one argument. */
export interface RegionChildOptions {
  readonly region: RegionId;
  readonly name: string;
  readonly brokers: string;
  readonly partitions: PartitionCounts;
  readonly sessionMs: number;
  readonly apiPort: number;
  /** host:port of all processes. */
  readonly peers: readonly string[];
}

/** Sent when it collects. */
export interface RegionChildReady {
  readonly otlpHttpPort: number;
}

/** One process of a region without its writer and index: collector, assembler, region API. SIGTERM stops it in order. */
async function run(options: RegionChildOptions): Promise<void> {
  const { region, name, partitions } = options;
  const registry = new Registry();
  const log = await openKafkaSpanLog({
    brokers: [options.brokers],
    clientId: name,
    clock,
    logger,
    registry,
    sessionMs: options.sessionMs,
    heartbeatMs: 200,
  });
  const assembler = createAssembler({
    source: region,
    home: region,
    log,
    partitions,
    policy: keepAll,
    incarnation: clock.nowMs(),
    random: Math.random,
    limits: { settleMs: 500, idleMs: 3_000 },
    clock,
    logger,
    registry,
    crash: noCrash,
  });
  const { live } = assembler;
  const peers = new LivePeers({
    peers: options.peers,
    connect: (address) => createLivePeerClient({ address, security: plaintext }),
    clock,
    logger,
  });
  const peered = new PeeredLive({
    region,
    live,
    process: name,
    peers,
    partitionCount: partitions.spans,
    clock,
    takeoverMs: options.sessionMs,
  });
  const store = { get: async () => [], search: async () => ({ matches: [], next: null }) };
  const index = { locate: async () => [], watermarks: async () => [] };
  const noDigests: IndexDigests = { digests: async () => [], bucket: async () => [] };
  const api = createRegionApiServer({
    region,
    reads: new RegionReads({ region, store, live, peered, index, clock }),
    own: { live, process: name },
    index: noDigests,
    tail: null,
    followable: [],
    status: async () => ({ region, parts: [], links: [], startedMs: 0 }),
    listen: { host: '127.0.0.1', port: options.apiPort },
    security: plaintext,
    clock,
  });
  const any = { host: '127.0.0.1', port: 0 };
  const collector = createCollector({
    region,
    collectorId: name,
    log,
    partitionCount: partitions.spans,
    redaction: { dropKeys: [], maskKeys: [], patterns: [], maskSecret: Buffer.from('none') },
    listen: { otlpGrpc: any, otlpHttp: any, zipkin: any, jaegerThrift: any },
    security: plaintext,
    random32: () => Math.floor(Math.random() * 2 ** 32),
    clock,
    logger,
    registry,
    crash: noCrash,
  });
  // The API first and last: while the assembler hands its partitions over, it answers for what it has.
  await api.start();
  await assembler.start();
  await collector.start();
  process.once('SIGTERM', () => {
    void collector
      .stop()
      .then(() => assembler.stop())
      .then(() => api.stop())
      .then(() => log.close())
      .then(() => process.exit(0));
  });
  process.send?.({ otlpHttpPort: collector.addresses.otlpHttp.port } satisfies RegionChildReady);
}

void run(JSON.parse(process.argv[2]!) as RegionChildOptions);
