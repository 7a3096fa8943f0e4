import { DROP_KEYS_DEFAULT, MASK_KEYS_DEFAULT } from '../../global/otlp/redact.js';
import { PATTERN_NAMES } from '../../global/otlp/redact-text.js';
import {
  choice,
  flag,
  integer,
  list,
  type OptionValues,
  object,
  optionalText,
  text,
} from '../../global/runtime/options.js';
import { ASSEMBLER_DEFAULTS } from '../assembler/options.js';
import { COLLECTOR_DEFAULTS } from '../collector/options.js';
import { ENGINE_OPTIONS } from './engine-options.js';
import { TIER_OPTIONS } from './tier-options.js';

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const port = (help: string, standard: number) => integer({ help, default: standard, min: 0, max: 65_535 });

/** Everything that a region process can be told. The file's keys are the names here. */
export const REGION_OPTIONS = {
  region: text({ help: 'the region that this process is' }),
  fleet: object({
    help: 'the fleet: {"regions": [{"region", "regionApi": "host:port", "standby", "partitions", "kafka"}]}',
  }),
  dataDir: text({ help: 'folder of the embedded log, store and index' }),
  ...ENGINE_OPTIONS,
  ...TIER_OPTIONS,
  peers: list({
    help: 'region API addresses of the processes of this same region, host:port, or dns:name:port for all addresses of a name; may contain its own',
    default: [],
  }),
  host: text({ help: 'address to listen on', default: '127.0.0.1' }),
  otlpGrpcPort: port('OTLP over gRPC', 4317),
  otlpHttpPort: port('OTLP over HTTP, and native spans', 4318),
  zipkinPort: port('Zipkin v2 JSON', 9411),
  jaegerThriftPort: port('Jaeger thrift over HTTP', 14268),
  regionApiPort: port('region API, for routers and other regions', 7001),
  adminPort: port('health and metrics', 7002),
  logLevel: choice({
    help: 'least important level that is logged',
    default: 'info',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const,
  }),
  collectorId: optionalText({ help: 'name of this collector in what it stores; default: host name and process id' }),
  gatherMs: integer({
    help: 'how long spans gather before they are appended',
    unit: 'ms',
    default: COLLECTOR_DEFAULTS.gatherMs,
    min: 0,
    max: 1000,
  }),
  redactDropKeys: list({
    help: 'attributes that are dropped before anything is stored',
    default: DROP_KEYS_DEFAULT,
  }),
  redactMaskKeys: list({ help: 'attributes whose value is replaced by a keyed hash', default: MASK_KEYS_DEFAULT }),
  redactPatterns: list({
    help: `patterns that are replaced inside any text: ${PATTERN_NAMES.join(', ')}`,
    default: PATTERN_NAMES,
  }),
  redactSecretFile: optionalText({
    help: 'file with the key of the mask, the same in every region so that masked values can be joined; default: a fixed key, for trying out only',
  }),
  spoolDir: optionalText({
    help: 'folder of the spool, of this collector alone, on a disk that outlives the process; default: spool below dataDir',
  }),
  spoolBytesMax: integer({
    help: 'bytes on disk that spans may take while the log does not take them; 0: no spool',
    unit: 'bytes',
    default: COLLECTOR_DEFAULTS.spoolBytesMax,
    min: 0,
    max: 1024 ** 4,
  }),
  spoolHangMs: integer({
    help: 'an append to the log that has no answer for so long goes to the spool',
    unit: 'ms',
    default: COLLECTOR_DEFAULTS.spoolHangMs,
    min: 50,
    max: 60_000,
  }),
  corsOrigins: list({
    help: "origins whose browsers may send OTLP; '*' for any",
    default: COLLECTOR_DEFAULTS.corsOrigins,
  }),
  assemblerIdleMs: integer({
    help: 'a trace that got no span for so long is closed',
    unit: 'ms',
    default: ASSEMBLER_DEFAULTS.idleMs,
    min: 100,
    max: HOUR_MS,
  }),
  assemblerAgeMs: integer({
    help: 'a trace this old is closed',
    unit: 'ms',
    default: ASSEMBLER_DEFAULTS.ageMs,
    min: 1000,
    max: DAY_MS,
  }),
  assemblerSettleMs: integer({
    help: 'a whole trace that got no span for so long is closed',
    unit: 'ms',
    default: ASSEMBLER_DEFAULTS.settleMs,
    min: 0,
    max: HOUR_MS,
  }),
  assemblerOpenBytesMax: integer({
    help: 'bytes of open traces held in memory; the oldest are closed beyond it',
    unit: 'bytes',
    default: ASSEMBLER_DEFAULTS.openBytesMax,
    min: 1024 * 1024,
    max: 64 * 1024 ** 3,
  }),
  spansRetentionMs: integer({
    help: 'how long raw spans stay in the log',
    unit: 'ms',
    default: 7 * DAY_MS,
    min: 4 * HOUR_MS,
    max: 365 * DAY_MS,
  }),
  viewsRetentionMs: integer({
    help: 'how long segments and metadata stay in the log',
    unit: 'ms',
    default: 7 * DAY_MS,
    min: 4 * HOUR_MS,
    max: 365 * DAY_MS,
  }),
  storeRetentionMs: integer({
    help: 'how long traces are kept',
    unit: 'ms',
    default: 30 * DAY_MS,
    min: HOUR_MS,
    max: 3650 * DAY_MS,
  }),
  indexFold: flag({ help: 'fold old days of the index (indexFoldAfterMs)', default: true }),
  indexFoldAfterMs: integer({
    help: 'after this the index keeps of a day only which region may have a trace',
    unit: 'ms',
    default: 2 * DAY_MS,
    min: HOUR_MS,
    max: 3650 * DAY_MS,
  }),
  linkDelayMs: integer({
    help: 'delay added to what arrives from other regions, to try out distance',
    unit: 'ms',
    default: 0,
    min: 0,
    max: 60_000,
  }),
  reconcileCron: text({ help: 'when the index is compared with the other regions (cron)', default: '*/15 * * * *' }),
  reconcile: flag({ help: 'compare and repair the index on that schedule', default: true }),
  drainMs: integer({
    help: 'longest wait for requests in progress when stopping',
    unit: 'ms',
    default: COLLECTOR_DEFAULTS.drainMs,
    min: 0,
    max: 600_000,
  }),
  healthLimitMs: integer({
    help: 'time limit of each deep health check',
    unit: 'ms',
    default: 1000,
    min: 10,
    max: 60_000,
  }),
  crashAt: optionalText({ help: 'for crash tests: the named point at which this process kills itself' }),
} as const;

export type RegionOptions = OptionValues<typeof REGION_OPTIONS>;
