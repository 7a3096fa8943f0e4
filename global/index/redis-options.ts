import { MeridianError } from '../runtime/errors.js';
import { integer, list, type OptionValues, optionalText } from '../runtime/options.js';
import type { RedisAddress } from './redis-link.js';

/** Where the region's Redis is; regions and routers are told alike. */
export const REDIS_OPTIONS = {
  redisUrl: optionalText({ help: 'Redis of the index: redis://host:port, or rediss:// for TLS' }),
  redisNodes: list({
    help: 'in place of redisUrl, nodes of a Redis Cluster to begin with: host:port, ...',
    default: [],
  }),
  redisPasswordFile: optionalText({ help: "file with the password of the index's Redis" }),
} as const;

/** Of what a day's records are laid out for; only who writes the index needs it. */
export const redisRecordsPerDayExpected = integer({
  help: 'index records (one a trace and region) that a day brings; memory a record is best up to four times as many',
  default: 4_000_000,
  min: 1_000,
  max: 10_000_000_000,
});

/**
 * The address that the options name, with the password from its file by `readSecret`. Throws `configuration` where none is named, or both, or where one
 * makes no sense.
 */
export function redisAddress(
  options: OptionValues<typeof REDIS_OPTIONS>,
  readSecret: (option: string, file: string) => string,
): RedisAddress {
  const { redisUrl, redisNodes, redisPasswordFile } = options;
  const password = redisPasswordFile ? readSecret('redisPasswordFile', redisPasswordFile) : undefined;
  if (redisUrl && redisNodes.length > 0) throw wrong('redisUrl and redisNodes are both given: one Redis, or a cluster');
  if (redisUrl) return { url: withPassword(redisUrl, password) };
  if (redisNodes.length === 0) throw wrong('index: redis needs redisUrl or redisNodes');
  const nodes = redisNodes.map((node) => {
    const [, host, port] = /^(.+):(\d{1,5})$/.exec(node) ?? [];
    if (!host) throw wrong(`redisNodes: "${node}" is not host:port`);
    return { host, port: Number(port) };
  });
  return { nodes, ...(password === undefined ? {} : { password }) };
}

function withPassword(text: string, password: string | undefined): string {
  if (!URL.canParse(text) || !/^rediss?:$/.test(new URL(text).protocol)) {
    throw wrong(`redisUrl: "${text}" is no redis:// or rediss:// URL`);
  }
  if (password === undefined) return text;
  const url = new URL(text);
  url.password = encodeURIComponent(password);
  return url.href;
}

function wrong(message: string): MeridianError {
  return new MeridianError('configuration', message, 'never');
}
