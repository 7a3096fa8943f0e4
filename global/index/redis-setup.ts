import { MeridianError } from '../runtime/errors.js';
import type { Logger } from '../runtime/logger.js';
import { BUCKET_FILL_MAX, LAYOUT_VERSION, LAYOUT_VERSION_BEFORE } from './redis-layout.js';
import type { RedisCommand, RedisLink } from './redis-link.js';
import type { RedisShard } from './redis-shard.js';

const ATTEMPTED = 'index open';
/** Bytes of a value of an ordinary record, with room to spare. */
const VALUE_BYTES_WANTED = 256;

const MAKE = `
if redis.call('EXISTS', KEYS[1]) == 1 then
  if redis.call('HGET', KEYS[1], 'version') == ARGV[4] then redis.call('HSET', KEYS[1], 'version', ARGV[1]) end
  return 0
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'shards', ARGV[2], 'generation', ARGV[3], 'writes', 0)
return 1
`;

/** Makes the shard's state where there is none, and says that it is of this version where it is of the one before. */
export async function makeShard(shard: RedisShard, shards: number, generation: string): Promise<void> {
  await shard.link.roundTrip(ATTEMPTED, [
    ['EVAL', MAKE, 1, shard.keys.meta, LAYOUT_VERSION, shards, generation, LAYOUT_VERSION_BEFORE],
  ]);
}

/** Removes all keys of the shard: first those that prove something, so that what is left of it on the way claims nothing. */
export async function wipeShard(shard: RedisShard): Promise<void> {
  const { keys, link } = shard;
  const proofs = [keys.meta, keys.watermarks, keys.positions, keys.catalogue, keys.catalogueTotals];
  await link.roundTrip('index clear', [['DEL', ...proofs]]);
  for await (const found of link.keys('index clear', keys.pattern)) {
    await link.roundTrip('index clear', [['UNLINK', ...found]]);
  }
}

/** Refuses a server that would lose records by itself, and warns of one that would need several times the memory. */
export async function checkServer(link: RedisLink, logger: Logger): Promise<void> {
  const info = await asked(link, ['INFO', 'memory']);
  const policy = /^maxmemory_policy:(\S+)/m.exec(info)?.[1];
  if (policy !== undefined && policy !== 'noeviction') {
    throw new MeridianError(
      'configuration',
      `index: Redis at ${link.where} has maxmemory-policy ${policy}; with it records would vanish one by one and traces be taken for absent. Set noeviction`,
      'never',
    );
  }
  const entries = Number(await asked(link, ['CONFIG', 'GET', 'hash-max-listpack-entries']));
  const bytes = Number(await asked(link, ['CONFIG', 'GET', 'hash-max-listpack-value']));
  if ((entries > 0 && entries < 2 * BUCKET_FILL_MAX) || (bytes > 0 && bytes < VALUE_BYTES_WANTED)) {
    logger.warn(
      { redis: link.where, entries, bytes },
      'index: Redis has hash-max-listpack-entries or hash-max-listpack-value below 256; buckets will need several times the memory. Set 512 and 2048',
    );
  }
}

/** The text of a reply (the last of a list); empty where the server does not answer such a question, as managed ones do. */
async function asked(link: RedisLink, command: RedisCommand): Promise<string> {
  try {
    const [reply] = await link.roundTrip(ATTEMPTED, [command]);
    return String(Array.isArray(reply) ? (reply.at(-1) ?? '') : reply);
  } catch (error) {
    const cause = error instanceof MeridianError ? error.cause : error;
    if (cause instanceof Error && cause.name === 'ReplyError') return '';
    throw error;
  }
}
