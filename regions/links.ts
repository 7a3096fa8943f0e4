import type { Registry } from 'prom-client';
import type { FleetRegion } from '../global/fleet/fleet.js';
import { MIRRORED_TOPICS, TOPICS } from '../global/log/topics.js';
import type { RegionId } from '../global/model/ids.js';
import type { RegionClient } from '../global/region-api/region-client.js';
import { createKafkaLinkWatch } from '../global/replication/kafka-link-watch.js';
import { createLink } from '../global/replication/link.js';
import type { LinkReport } from '../global/replication/link-report.js';
import { offerBeginning } from '../global/replication/mirror-places.js';
import type { Clock } from '../global/runtime/clock.js';
import type { ReachCrashPoint } from '../global/runtime/crash-points.js';
import { MeridianError } from '../global/runtime/errors.js';
import type { Logger } from '../global/runtime/logger.js';
import type { Service } from '../global/runtime/service.js';
import type { Engines } from './engines.js';

/** How the feeds of the other regions come here. */
export interface RegionLinks {
  readonly services: readonly Service[];
  readonly reports: readonly LinkReport[];
  /** For trying out what a bad network does. Throws `invalid` for an unknown region, `refused` where the links are MirrorMaker's. */
  change(from: string, change: { cut?: boolean; delayMs?: number }): void;
}

export interface LinksSetup {
  readonly home: RegionId;
  readonly others: readonly FleetRegion[];
  readonly clients: ReadonlyMap<RegionId, RegionClient>;
  readonly delayMs: number;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly registry: Registry;
  readonly crash: ReachCrashPoint;
}

/** The links of the embedded log pull from the other regions; those of Kafka are MirrorMaker's, and are watched. */
export async function makeLinks({ log, tail }: Engines, setup: LinksSetup): Promise<RegionLinks> {
  return tail ? pullingLinks(log, setup) : watchedLinks(log, setup);
}

function pullingLinks(log: Engines['log'], setup: LinksSetup): RegionLinks {
  const { others, clients, delayMs, home } = setup;
  const links = others.map(({ region: source, partitions }) => {
    const topics = MIRRORED_TOPICS.map((name) => ({ name, partitions: partitions.traceMetadata }));
    const link = createLink({ ...setup, source, client: clients.get(source)!, log, topics, random: Math.random });
    link.setDelayMs(delayMs);
    return link;
  });
  return {
    services: links,
    reports: links,
    change: (from, { cut, delayMs: changedMs }) => {
      const link = links.find((known) => known.status().from === from);
      if (!link) throw new MeridianError('invalid', `no link from "${from}" to ${home}`, 'never');
      if (cut === true) link.cut();
      if (cut === false) link.heal();
      if (changedMs !== undefined) link.setDelayMs(changedMs);
    },
  };
}

async function watchedLinks(log: Engines['log'], setup: LinksSetup): Promise<RegionLinks> {
  const { others, home } = setup;
  // So that MirrorMakers which have no place here yet begin at the beginning.
  await offerBeginning(
    log,
    MIRRORED_TOPICS,
    others.map(({ region }) => region),
  );
  const links = others.map(({ region: source }) =>
    createKafkaLinkWatch({ ...setup, source, log, topic: TOPICS.traceMetadata }),
  );
  return {
    services: links,
    reports: links,
    change: (from) => {
      throw new MeridianError(
        'refused',
        `the link from "${from}" to ${home} is MirrorMaker's: stop and start it with \`meridian engines stop|start ${home}/mirror-maker\``,
        'never',
      );
    },
  };
}
