import { parseRegionId } from '../model/ids.js';
import { MeridianError } from '../runtime/errors.js';

/** The Kafka cluster of a region as a MirrorMaker reaches it. The region's name is the cluster's alias. */
export interface MirrorCluster {
  readonly region: string;
  /** Each `host:port`. */
  readonly brokers: readonly string[];
}

export interface MirrorMakerConfig {
  readonly target: MirrorCluster;
  /** The regions that are mirrored from. The target itself is left out where it is among them, so that the whole fleet may be given. */
  readonly sources: readonly MirrorCluster[];
  /** By their names at the sources; they arrive as `{source}.{topic}`. */
  readonly topics: readonly string[];
  /** Of the topics that MirrorMaker makes in the target for itself. Default 3. */
  readonly replicationFactor?: number;
  /** How often new topics of the sources are looked for. Default 5. */
  readonly refreshSeconds?: number;
  /**
   * More properties per cluster, without its name as a prefix: `security.protocol`, `sasl.jaas.config`, `ssl.truststore.location`.
   * They win over ours. Secrets are references to files: `${file:/run/secrets/us-east-1.properties:password}`.
   */
  readonly extra?: Readonly<Record<string, Readonly<Record<string, string>>>>;
}

/** The largest record that goes through, as the topics have it: an entry of 16 MiB, its headers, and what Kafka adds. */
const RECORD_BYTES_MAX = 17 * 1024 * 1024;

/**
 * The consumer group in whose name a MirrorMaker reads at a source. Nobody joins it: it holds, in the source, where a partition begins
 * that MirrorMaker has no place for yet (docs/decisions/0013).
 */
export function mirrorGroup(target: string): string {
  return `meridian-mirror-${target}`;
}

/** The topic of the target in which MirrorMaker keeps its places in the source. */
export function mirrorOffsetsTopic(source: string): string {
  return `mm2-offsets.${source}.internal`;
}

/** More brokers than any cluster has; Kafka's field is a signed 16-bit integer. */
const REPLICATION_FACTOR_IMPOSSIBLE = 32_000;

/**
 * The properties of one MirrorMaker 2 near the target, for Kafka 3.7 to 3.9. Throws `configuration` naming what is wrong: names that are no
 * region names, a cluster without brokers, a topic that is a mirror itself, an inline secret, extra properties of an unknown cluster. Pure.
 */
export function mirrorMakerProperties(config: MirrorMakerConfig): string {
  const { target, topics, extra = {}, replicationFactor = 3, refreshSeconds = 5 } = config;
  const sources = config.sources.filter(({ region }) => region !== target.region);
  const clusters = [target, ...sources];
  check(config, clusters, sources);
  const lines: (readonly [string, string] | string)[] = [
    `# MirrorMaker 2 near ${target.region}: connect-mirror-maker.sh THIS_FILE --clusters ${target.region}`,
    ['clusters', clusters.map(({ region }) => region).join(', ')],
    ...clusters.map(({ region, brokers }) => [`${region}.bootstrap.servers`, brokers.join(',')] as const),
    '',
    '# Topics keep their settings and get the name {source}.{topic}; Meridian makes them with settings of its own.',
    ['replication.policy.class', 'org.apache.kafka.connect.mirror.DefaultReplicationPolicy'],
    ['sync.topic.configs.enabled', 'false'],
    ['sync.topic.acls.enabled', 'false'],
    ['refresh.topics.interval.seconds', String(refreshSeconds)],
    ['replication.factor', String(replicationFactor)],
    '',
    "# Commits of a source's groups must not come here: the groups of this region have the same names.",
    ['sync.group.offsets.enabled', 'false'],
    ['emit.checkpoints.enabled', 'false'],
    ['refresh.groups.enabled', 'false'],
    ['emit.offset-syncs.enabled', 'false'],
    ['emit.heartbeats.enabled', 'false'],
    // MirrorMaker makes this topic all the same, and mirrors it whatever `topics` says; without a place in it the whole link would wait. No
    // cluster has as many brokers, so it is not made: one line in the log at each start. (A setting of the topic of offset-syncs would be refused.)
    ['heartbeats.topic.replication.factor', String(REPLICATION_FACTOR_IMPOSSIBLE)],
    '',
    ...sources.flatMap(({ region }) => linkSettings(region, target.region, topics)),
    ...workerSettings(target.region, replicationFactor),
    ...clusters.flatMap(({ region }) => extraSettings(region, extra[region] ?? {})),
  ];
  if (Object.keys(extra).length > 0) {
    lines.push(
      '# Secrets are read from files.',
      ['config.providers', 'file'],
      ['config.providers.file.class', 'org.apache.kafka.common.config.provider.FileConfigProvider'],
    );
  }
  return `${lines.map((line) => (typeof line === 'string' ? line : `${line[0]} = ${line[1].replaceAll('\\', '\\\\')}`)).join('\n')}\n`;
}

/**
 * A log4j 1 configuration: warnings, what a MirrorMaker does with its links, and apart from them, bounded in size, what its tasks say. A task
 * without a place says so several thousand times a second. `tasksFile`: where.
 */
export function mirrorMakerLogging(tasksFile: string): string {
  const layout = (appender: string) => [
    `log4j.appender.${appender}.layout=org.apache.log4j.PatternLayout`,
    `log4j.appender.${appender}.layout.ConversionPattern=%d{ISO8601} %p %X{connector.context}%c{1} %m%n`,
  ];
  return [
    'log4j.rootLogger=WARN, stdout',
    'log4j.appender.stdout=org.apache.log4j.ConsoleAppender',
    ...layout('stdout'),
    'log4j.logger.org.apache.kafka.connect.mirror.MirrorMaker=INFO',
    'log4j.logger.org.apache.kafka.connect.mirror.MirrorHerder=INFO',
    'log4j.logger.org.apache.kafka.connect.mirror.MirrorSourceConnector=INFO',
    'log4j.logger.org.apache.kafka.connect.mirror.MirrorSourceTask=INFO, tasks',
    'log4j.additivity.org.apache.kafka.connect.mirror.MirrorSourceTask=false',
    'log4j.appender.tasks=org.apache.log4j.RollingFileAppender',
    `log4j.appender.tasks.File=${tasksFile}`,
    'log4j.appender.tasks.MaxFileSize=1MB',
    'log4j.appender.tasks.MaxBackupIndex=1',
    ...layout('tasks'),
    '',
  ].join('\n');
}

function linkSettings(source: string, target: string, topics: readonly string[]) {
  const link = `${source}->${target}`;
  return [
    `# ${link}. It fails rather than skips what ${source} has deleted: 'meridian mirror-prepare' before each start gives it its place.`,
    [`${link}.enabled`, 'true'],
    [`${link}.topics`, topics.map(exactly).join(', ')],
    [`${link}.source.consumer.group.id`, mirrorGroup(target)],
    [`${link}.source.consumer.auto.offset.reset`, 'none'],
    [`${link}.source.consumer.fetch.max.bytes`, String(2 * RECORD_BYTES_MAX)],
    [`${link}.source.consumer.max.partition.fetch.bytes`, String(RECORD_BYTES_MAX)],
    [`${link}.source.consumer.fetch.max.wait.ms`, '500'],
    '',
  ] as const;
}

/** Topics are given as regular expressions. */
function exactly(topic: string): string {
  return topic.replaceAll('.', '\\.');
}

function workerSettings(target: string, replicationFactor: number) {
  return [
    `# Workers, by the name of their cluster: without it they are ignored.`,
    // With the other protocol a target that was away hands out nothing for 5 minutes.
    [`${target}.connect.protocol`, 'eager'],
    // What was mirrored since is mirrored again after a crash.
    [`${target}.offset.flush.interval.ms`, '1000'],
    ...['config', 'offset', 'status'].map(
      (kind) => [`${target}.${kind}.storage.replication.factor`, String(replicationFactor)] as const,
    ),
    [`${target}.offset.storage.partitions`, '1'],
    // It is read from its beginning at each start: compaction spares the last segment.
    [`${target}.offset.storage.segment.bytes`, String(16 * 1024 * 1024)],
    [`${target}.status.storage.partitions`, '1'],
    [`${target}.producer.acks`, 'all'],
    [`${target}.producer.enable.idempotence`, 'true'],
    [`${target}.producer.max.in.flight.requests.per.connection`, '5'],
    [`${target}.producer.linger.ms`, '0'],
    [`${target}.producer.batch.size`, String(512 * 1024)],
    [`${target}.producer.compression.type`, 'lz4'],
    [`${target}.producer.max.request.size`, String(RECORD_BYTES_MAX)],
    [`${target}.producer.buffer.memory`, String(4 * RECORD_BYTES_MAX)],
    '',
  ] as const;
}

function extraSettings(region: string, settings: Readonly<Record<string, string>>) {
  return Object.entries(settings).map(([name, value]) => [`${region}.${name}`, value] as const);
}

const SECRET = /password|secret|sasl\.jaas\.config|token|ssl\.keystore\.key/i;
const FILE_REFERENCE = /\$\{file:[^}]+\}/;

function check(
  { target, topics, extra = {} }: MirrorMakerConfig,
  clusters: readonly MirrorCluster[],
  sources: readonly MirrorCluster[],
) {
  const attempt = `mirror to ${target.region}`;
  const refuse = (problem: string): never => {
    throw new MeridianError('configuration', `${attempt}: ${problem}`, 'never');
  };
  const names = clusters.map(({ region }) => region);
  for (const { region, brokers } of clusters) {
    if (!parseRegionId(region)) refuse(`"${region}" is no region name`);
    if (brokers.length === 0) refuse(`${region} has no Kafka brokers`);
    for (const broker of brokers)
      if (!/^[^\s,=]+:\d{1,5}$/.test(broker)) refuse(`${region}: "${broker}" is not host:port`);
  }
  if (new Set(names).size !== names.length) refuse('a region is named twice');
  if (sources.length === 0) refuse('there is no other region to mirror from');
  if (topics.length === 0) refuse('no topics are named');
  for (const topic of topics) {
    if (!/^[a-z0-9._-]{1,200}$/.test(topic)) refuse(`"${topic}" is no topic name`);
    if (names.some((name) => topic.startsWith(`${name}.`)))
      refuse(`topic "${topic}" is a mirror itself: it would go in circles`);
  }
  for (const [region, settings] of Object.entries(extra)) {
    if (!names.includes(region)) refuse(`extra properties of "${region}", which is not among ${names.join(', ')}`);
    for (const [name, value] of Object.entries(settings)) {
      if (!/^[\w.-]+$/.test(name)) refuse(`extra properties of ${region}: "${name}" is no property name`);
      if (/[\r\n]/.test(value)) refuse(`extra property ${region}.${name} has a line break`);
      if (SECRET.test(name) && !FILE_REFERENCE.test(value)) {
        refuse(`extra property ${region}.${name} is a secret: give it as \${file:PATH:KEY}, read from a file at start`);
      }
    }
  }
}
