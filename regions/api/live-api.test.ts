import { createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IndexDigests } from '../../global/index/trace-index.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { TraceMetadata } from '../../global/model/metadata.js';
import type { SearchRequest } from '../../global/model/query.js';
import { plaintext } from '../../global/runtime/channel-security.js';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { LivePartition, LiveSegments } from '../assembler/open-traces-reader.js';
import type { OwnLive } from './live-api.js';
import type { LivePeer } from './live-peer.js';
import { createLivePeerClient } from './live-peer-client.js';
import { createRegionApiServer, type RegionApiServer } from './region-api-server.js';
import type { RegionReads } from './region-reads.js';

const REGION = 'us-east-1' as RegionId;
const OTHER = 'eu-west-1' as RegionId;
const TRACE = '00112233445566778899aabbccddeeff' as TraceId;
const CALL = { deadlineMs: 5_000 };
const METADATA: TraceMetadata = {
  traceId: TRACE,
  region: REGION,
  startUnixNano: 1_795_176_000_000_000_001n,
  endUnixNano: 1_795_176_000_100_000_002n,
  root: null,
  coverage: [{ key: 77, service: 'gateway', spanCount: 3, errorCount: 1 }],
  flags: 0,
  blocks: [],
};
const POSITION = { startUnixNano: METADATA.startUnixNano, traceId: TRACE };
const PARTITIONS: readonly LivePartition[] = [
  { partition: 0, owned: true, ageMs: 0, searchable: true },
  { partition: 7, owned: true, ageMs: null, searchable: false },
  { partition: 99, owned: false, ageMs: 4_321, searchable: true },
];
const SEARCH: SearchRequest = {
  query: { service: 's', attributes: [{ key: 'k', value: 'v' }], startUnixNanoMin: 0n, startUnixNanoMax: 9n },
  source: REGION,
  after: POSITION,
  limit: 5,
};

const segment = { metadata: METADATA, payload: Buffer.from([10, 0]), receivedFirstMs: 5, receivedLastMs: 6 };
let searched: SearchRequest | null = null;
let fails = false;
const live: LiveSegments = {
  get: async () => {
    if (fails) throw new MeridianError('unavailable', 'reading back block 7: down', 'later');
    return [{ ...segment, closeReason: 'idle' }];
  },
  search: async (request) => {
    searched = request;
    return { matches: [{ position: POSITION, metadata: METADATA }], next: POSITION };
  },
  partitions: () => PARTITIONS,
};

const stops: (() => unknown)[] = [];
let peer: LivePeer;

async function serve(own?: OwnLive): Promise<RegionApiServer> {
  const server = createRegionApiServer({
    region: REGION,
    reads: {} as RegionReads,
    ...(own ? { own } : {}),
    index: {} as IndexDigests,
    tail: null,
    followable: [],
    status: () => Promise.reject(new Error('not asked')),
    listen: { host: '127.0.0.1', port: 0 },
    security: plaintext,
    clock: realClock,
  });
  await server.start();
  stops.push(() => server.stop());
  return server;
}

function peerAt(port: number): LivePeer {
  const client = createLivePeerClient({ address: `127.0.0.1:${port}`, security: plaintext });
  stops.push(() => client.close());
  return client;
}

beforeAll(async () => {
  peer = peerAt((await serve({ live, process: 'p1' })).address.port);
});
afterAll(async () => {
  for (const stop of stops.reverse()) await stop();
});

describe('what one process tells another', () => {
  test('segments of a trace, and what the answer speaks for', async () => {
    expect(await peer.getLive(REGION, TRACE, CALL)).toEqual({
      found: [segment],
      process: 'p1',
      partitions: PARTITIONS,
    });
  });

  test('a page of a search', async () => {
    expect(await peer.searchLive(SEARCH, CALL)).toEqual({
      found: { matches: [{ position: POSITION, metadata: METADATA }], next: POSITION },
      process: 'p1',
      partitions: PARTITIONS,
    });
    expect(searched).toEqual(SEARCH);
  });

  test('a failure claims nothing and names the process', async () => {
    fails = true;
    await expect(peer.getLive(REGION, TRACE, CALL)).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('getLive at 127.0.0.1:'),
    });
    fails = false;
  });

  test('another region is refused', async () => {
    await expect(peer.getLive(OTHER, TRACE, CALL)).rejects.toMatchObject({ code: 'refused' });
    await expect(peer.searchLive({ ...SEARCH, source: OTHER }, CALL)).rejects.toMatchObject({ code: 'refused' });
  });

  test('a process that does not answer alone says so', async () => {
    const alone = peerAt((await serve()).address.port);
    await expect(alone.getLive(REGION, TRACE, CALL)).rejects.toMatchObject({ code: 'not-found' });
    await expect(alone.searchLive(SEARCH, CALL)).rejects.toMatchObject({ code: 'not-found' });
  });

  test('a process that is stopped, and one that is not there', async () => {
    const silent = createServer(() => {});
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
    const address = silent.address();
    const port = typeof address === 'object' && address ? address.port : 0;
    stops.push(() => silent.close());
    await expect(peerAt(port).getLive(REGION, TRACE, { deadlineMs: 50 })).rejects.toMatchObject({ code: 'timeout' });
    await expect(peerAt(1).getLive(REGION, TRACE, CALL)).rejects.toMatchObject({ code: 'unavailable' });
  });
});
