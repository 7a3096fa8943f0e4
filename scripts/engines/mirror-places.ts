import { Registry } from 'prom-client';
import type { SpanLog } from '../../global/log/span-log.js';
import type { RegionId } from '../../global/model/ids.js';
import type { MirrorCluster } from '../../global/replication/mirror-maker-config.js';
import { type MirrorPlace, prepareMirror } from '../../global/replication/mirror-places.js';
import { type Clock, realClock } from '../../global/runtime/clock.js';
import { MeridianError, messageOf } from '../../global/runtime/errors.js';
import { type Logger, silentLogger } from '../../global/runtime/logger.js';
import { type KafkaSpanLogOptions, openKafkaSpanLog } from '../../regions/log/kafka-span-log.js';

/** How a client of ours reaches the cluster of a region, beside its brokers. */
export type MirrorConnections = Readonly<Record<string, Pick<KafkaSpanLogOptions, 'ssl' | 'sasl'>>>;

export interface PrepareMirrorsOptions {
  readonly target: MirrorCluster;
  readonly sources: readonly MirrorCluster[];
  readonly topics: readonly string[];
  readonly connections?: MirrorConnections;
  readonly clock?: Clock;
  readonly logger?: Logger;
}

/** What became of one source: its partitions' places, or why it could not be asked (its MirrorMaker then keeps what it has, or waits). */
export type PreparedSource =
  | { readonly source: string; readonly places: readonly MirrorPlace[] }
  | { readonly source: string; readonly problem: string };

/**
 * `prepareMirror` for every source of a MirrorMaker that is stopped, in the order of the sources. A source that cannot be asked does not keep it
 * from the others. Rejects with `unavailable` where the target's Kafka does not answer.
 */
export async function prepareMirrors(options: PrepareMirrorsOptions): Promise<PreparedSource[]> {
  const { target, topics, clock = realClock } = options;
  const sources = options.sources.filter(({ region }) => region !== target.region);
  const targetLog = await open(target, options);
  try {
    return await Promise.all(
      sources.map(async (cluster): Promise<PreparedSource> => {
        const source = cluster.region;
        let sourceLog: SpanLog | null = null;
        try {
          sourceLog = await open(cluster, options);
          const regions = { source: source as RegionId, target: target.region as RegionId };
          return { source, places: await prepareMirror({ ...regions, sourceLog, targetLog, topics, clock }) };
        } catch (error) {
          // A bug is none of the source's troubles.
          if (!(error instanceof MeridianError)) throw error;
          return { source, problem: messageOf(error) };
        } finally {
          await sourceLog?.close();
        }
      }),
    );
  } finally {
    await targetLog.close();
  }
}

function open({ region, brokers }: MirrorCluster, options: PrepareMirrorsOptions): Promise<SpanLog> {
  return openKafkaSpanLog({
    brokers,
    ...options.connections?.[region],
    clientId: 'meridian-mirror-prepare',
    clock: options.clock ?? realClock,
    logger: options.logger ?? silentLogger,
    registry: new Registry(),
  });
}

/** One line per partition that did not keep its place, and per source that could not be asked. */
export function placeLines(prepared: readonly PreparedSource[]): string[] {
  return prepared.flatMap((one) => {
    if ('problem' in one) return [`${one.source}: not asked, places are as they were: ${one.problem}`];
    return one.places
      .filter(({ outcome }) => outcome !== 'kept')
      .map(({ topic, partition, outcome, nextOffset, reason }) => {
        const where = `${one.source}: ${topic}/${partition}`;
        if (outcome === 'beginning') return `${where} begins at its first record`;
        return `${where} goes on at ${nextOffset}; records are missing before it, and the index knows: ${reason}`;
      });
  });
}
