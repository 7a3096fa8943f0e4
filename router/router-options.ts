import { REDIS_OPTIONS } from '../global/index/redis-options.js';
import { choice, integer, type OptionValues, object, optionalText, text } from '../global/runtime/options.js';

/** Everything that a router process can be told. The file's keys are the names here. */
export const ROUTER_OPTIONS = {
  region: text({ help: 'the region that this router runs in, whose copy of the index it reads' }),
  fleet: object({
    help: 'the fleet: {"regions": [{"region", "regionApi": "host:port", "standby", "partitions", "kafka"}]}',
  }),
  index: choice({
    help: "what the region's index is",
    default: 'embedded',
    choices: ['embedded', 'redis'] as const,
  }),
  indexDir: optionalText({ help: 'folder of the embedded index' }),
  ...REDIS_OPTIONS,
  host: text({ help: 'address to listen on', default: '127.0.0.1' }),
  httpPort: integer({ help: 'HTTP API', default: 16_686, min: 0, max: 65_535 }),
  graceMs: integer({
    help: "a region is skipped for a trace once its watermark is this far past the trace's end",
    unit: 'ms',
    default: 600_000,
    min: 0,
    max: 86_400_000,
  }),
  deadlineMs: integer({
    help: 'an answer comes by then, whole or not',
    unit: 'ms',
    default: 5000,
    min: 10,
    max: 60_000,
  }),
  healthLimitMs: integer({
    help: 'time limit of each deep health check',
    unit: 'ms',
    default: 1000,
    min: 10,
    max: 60_000,
  }),
  drainMs: integer({
    help: 'longest wait for requests in progress when stopping',
    unit: 'ms',
    default: 10_000,
    min: 0,
    max: 600_000,
  }),
  logLevel: choice({
    help: 'least important level that is logged',
    default: 'info',
    choices: ['trace', 'debug', 'info', 'warn', 'error', 'silent'] as const,
  }),
} as const;

export type RouterConfig = OptionValues<typeof ROUTER_OPTIONS>;
