import { parseFleet } from '../../global/fleet/fleet.js';
import { MIRRORED_TOPICS } from '../../global/log/topics.js';
import { mirrorMakerLogging, mirrorMakerProperties } from '../../global/replication/mirror-maker-config.js';
import { type Compose, type Files, mountedFile, REGIONS } from './deployment.js';
import { readRoleConfigs } from './role-configs.js';

/** In the container; its user may write there. */
export const TASKS_LOG = '/opt/kafka/logs/mirror-maker-tasks.log';

/** The properties that the MirrorMaker near `region` should have: those of the generator, for the fleet of the configurations. */
export function mirrorPropertiesOf(files: Files, compose: Compose, region: string): string {
  const fleet = parseFleet(readRoleConfigs(files, compose).regions.get(region)!.fleet, 'fleet');
  const clusters = fleet.regions.map((one) => ({ region: one.region, brokers: one.kafka ?? [] }));
  return mirrorMakerProperties({
    target: clusters.find((one) => one.region === region)!,
    sources: clusters,
    topics: MIRRORED_TOPICS,
    replicationFactor: 1,
  });
}

export function checkMirrorMakers(files: Files, compose: Compose): string[] {
  return REGIONS.flatMap((region) => {
    const one = compose.services[`mirror-maker-${region}`]!;
    const inside = one.command[1] ?? '';
    const path = mountedFile(one, inside);
    if (!path) return [`mirror-maker-${region}: ${inside} is not mounted`];
    const found: string[] = [];
    if (one.command.join(' ') !== `/opt/kafka/bin/connect-mirror-maker.sh ${inside} --clusters ${region}`) {
      found.push(`mirror-maker-${region}: does not work for its region alone`);
    }
    if (files.text(path) !== mirrorPropertiesOf(files, compose, region)) {
      found.push(`${path} is not what mirrorMakerProperties() gives for this fleet`);
    }
    const logging = String(one.environment.KAFKA_LOG4J_OPTS).replace('-Dlog4j.configuration=file:', '');
    const loggingFile = mountedFile(one, logging);
    if (!loggingFile) found.push(`mirror-maker-${region}: ${logging} is not mounted`);
    else if (files.text(loggingFile) !== mirrorMakerLogging(TASKS_LOG)) {
      found.push(`${loggingFile} is not what mirrorMakerLogging() gives`);
    }
    const prepare = `mirror-prepare-${region}`;
    if (!one.depends_on[prepare]) found.push(`mirror-maker-${region}: does not wait for ${prepare}`);
    const { command = [] } = compose.services[prepare] ?? {};
    if (command[command.indexOf('--target') + 1] !== region) found.push(`${prepare}: works for another region`);
    return found;
  });
}
