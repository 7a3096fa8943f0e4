import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Registry } from 'prom-client';
import { openSqliteTraceIndex } from '../global/index/sqlite-trace-index.js';
import type { TraceIndex } from '../global/index/trace-index.js';
import type { SpanLog, TopicSpec } from '../global/log/span-log.js';
import type { RegionId } from '../global/model/ids.js';
import type { Clock } from '../global/runtime/clock.js';
import type { Logger } from '../global/runtime/logger.js';
import type { LogTail } from './log/log-tail.js';
import { openSqliteSpanLog } from './log/sqlite-span-log.js';
import type { SegmentStore } from './store/segment-store.js';
import { openSqliteSegmentStore } from './store/sqlite-segment-store.js';

/** What a region keeps its data in, behind the ports. */
export interface Engines {
  readonly log: SpanLog;
  /** Null where the log's own mirror (MirrorMaker) carries topics to other regions. */
  readonly tail: LogTail | null;
  readonly store: SegmentStore;
  readonly index: TraceIndex;
}

export interface EngineOptions {
  readonly home: RegionId;
  readonly dataDir: string;
  readonly topics: readonly TopicSpec[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
}

/**
 * Opens the embedded engines, each in a folder of its own below `dataDir`, and makes the topics. `opened` is told each one as it opens, so
 * that those before a failure can be closed.
 */
export async function openEmbeddedEngines(
  options: EngineOptions,
  opened: (name: string, close: () => Promise<void>) => void,
): Promise<Engines> {
  const { home, topics, clock, logger, registry } = options;
  const folder = (name: string) => {
    const path = join(options.dataDir, name);
    mkdirSync(path, { recursive: true });
    return path;
  };
  const log = await openSqliteSpanLog({ folder: folder('log'), clock, logger, registry });
  opened('log', () => log.close());
  await log.ensure(topics);
  const store = await openSqliteSegmentStore({ folder: folder('store'), clock, logger, registry });
  opened('store', () => store.close());
  const index = await openSqliteTraceIndex({ folder: folder('index'), home, clock, logger, registry });
  opened('index', () => index.close());
  return { log, tail: log, store, index };
}
