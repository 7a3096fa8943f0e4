import { type AddressInfo, createServer } from 'node:net';
import { Client, credentials, type ServiceError } from '@grpc/grpc-js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IndexDigest, IndexDigests } from '../../global/index/trace-index.js';
import type { LogRecord } from '../../global/log/span-log.js';
import type { RegionId, TraceId } from '../../global/model/ids.js';
import type { BlockId, TraceMetadata } from '../../global/model/metadata.js';
import type { SearchRequest } from '../../global/model/query.js';
import { createGrpcRegionClient } from '../../global/region-api/grpc-region-client.js';
import { regionApiService } from '../../global/region-api/messages.js';
import type { RegionClient, RegionStatus, RegionTrace, TraceRequest } from '../../global/region-api/region-client.js';
import { plaintext } from '../../global/runtime/channel-security.js';
import { realClock } from '../../global/runtime/clock.js';
import { MeridianError } from '../../global/runtime/errors.js';
import type { FollowedBatch, LogTail } from '../log/log-tail.js';
import { createRegionApiServer, type RegionApiServer } from './region-api-server.js';
import type { RegionReads } from './region-reads.js';

const REGION = 'us-east-1' as RegionId;
const TRACE = '00112233445566778899aabbccddeeff' as TraceId;
const CALL = { deadlineMs: 5000 };

const METADATA: TraceMetadata = {
  traceId: TRACE,
  region: REGION,
  startUnixNano: 1_795_176_000_000_000_001n,
  endUnixNano: 1_795_176_000_100_000_002n,
  root: { startUnixNano: 1_795_176_000_000_000_001n, service: 'gateway', operation: 'GET /' },
  coverage: [{ key: 77, service: 'gateway', spanCount: 3, errorCount: 1 }],
  flags: 1,
  blocks: ['us-east-1/3/100/1700000000000001' as BlockId],
};

const RECORD: LogRecord = {
  offset: 9_007_199_254_740_000,
  appendedMs: 1_795_176_000_000,
  key: Buffer.from('k'),
  value: Buffer.from([0, 1, 255]),
  headers: { meridian: Buffer.from([1, 2]) },
};

const STATUS: RegionStatus = {
  region: REGION,
  startedMs: 1_795_176_000_000,
  parts: [
    { part: 'log', state: 'ok' },
    { part: 'store', state: 'down', detail: 'disk full', sinceMs: 1_795_176_000_001 },
  ],
  links: [{ from: 'eu-west-1' as RegionId, lagMs: 12, state: 'up' }],
};

/** The parts behind the server, as the test wants them. */
class Parts {
  asked: (TraceRequest | SearchRequest)[] = [];
  hang = false;
  trace: RegionTrace = {
    segments: [
      { payload: Buffer.from([10, 0]), live: true, receivedFirstMs: 5, receivedLastMs: 6, metadata: METADATA },
    ],
    truncated: true,
    missing: [{ part: 'store', reason: 'away', sinceMs: 42 }],
  };

  readonly reads = {
    getTrace: async (request: TraceRequest) => {
      this.asked.push(request);
      if (this.hang) await new Promise(() => {});
      return this.trace;
    },
    search: async (request: SearchRequest) => {
      this.asked.push(request);
      const position = { startUnixNano: METADATA.startUnixNano, traceId: TRACE };
      return { matches: [{ position, metadata: METADATA }], next: position, missing: [] };
    },
  } as unknown as RegionReads;

  readonly index: IndexDigests = {
    digests: async (region): Promise<IndexDigest[]> => [
      { region, bucketStartMs: 3_600_000, recordCount: 2, hash: '00000000000000ff' },
    ],
    bucket: async (region, _bucketStartMs, after) => (after ? [] : [{ ...METADATA, region }]),
  };

  readonly tail: LogTail = {
    async *follow(_topic, _partition, fromOffset, signal): AsyncIterable<FollowedBatch> {
      yield { records: [{ ...RECORD, offset: fromOffset }], endOffset: fromOffset + 1 };
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    },
  };
}

const parts = new Parts();
let server: RegionApiServer;
let client: RegionClient;

beforeAll(async () => {
  server = createRegionApiServer({
    region: REGION,
    reads: parts.reads,
    index: parts.index,
    tail: parts.tail,
    followable: ['trace-metadata'],
    status: async () => STATUS,
    listen: { host: '127.0.0.1', port: 0 },
    security: plaintext,
    clock: realClock,
  });
  await server.start();
  client = clientOf(server.address.port);
});
afterAll(async () => {
  client.close();
  await server.stop();
});

function clientOf(port: number): RegionClient {
  return createGrpcRegionClient({ region: REGION, address: `127.0.0.1:${port}`, security: plaintext });
}

async function failure(call: Promise<unknown>): Promise<MeridianError> {
  const error = await call.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(MeridianError);
  return error as MeridianError;
}

describe('what goes in comes out', () => {
  test('a trace, with what is missing', async () => {
    const blocks = ['us-east-1/3/100/1' as BlockId];
    const answer = await client.getTrace({ source: REGION, traceId: TRACE, blocks, bytesMax: 1000 }, CALL);
    expect(answer).toEqual({ ...parts.trace, segments: [{ ...parts.trace.segments[0] }] });
    expect(parts.asked.at(-1)).toEqual({ source: REGION, traceId: TRACE, blocks, bytesMax: 1000 });
  });

  test('a search with every condition', async () => {
    const request: SearchRequest = {
      source: REGION,
      limit: 7,
      after: { startUnixNano: 2n ** 63n + 5n, traceId: TRACE },
      query: {
        service: 's',
        operation: 'o',
        attributes: [{ key: 'a', value: '' }],
        error: false,
        kind: 0,
        durationNanoMin: 0n,
        durationNanoMax: 2n ** 60n + 1n,
        startUnixNanoMin: 0n,
        startUnixNanoMax: 2n ** 64n - 1n,
        traceIds: [TRACE],
      },
    };
    const page = await client.search(request, CALL);
    expect(parts.asked.at(-1)).toEqual(request);
    expect(page.matches).toEqual([
      { position: { startUnixNano: METADATA.startUnixNano, traceId: TRACE }, metadata: METADATA },
    ]);
    expect(page.next).toEqual({ startUnixNano: METADATA.startUnixNano, traceId: TRACE });
  });

  test('a search with none', async () => {
    const query = { attributes: [], startUnixNanoMin: 1n, startUnixNanoMax: 2n };
    const request: SearchRequest = { source: REGION, limit: 1000, after: null, query };
    await client.search(request, CALL);
    expect(parts.asked.at(-1)).toEqual(request);
  });

  test('status, digests and buckets', async () => {
    expect(await client.status(CALL)).toEqual(STATUS);
    const other = 'eu-west-1' as RegionId;
    expect(await client.indexDigests(other, CALL)).toEqual(await parts.index.digests(other));
    expect(await client.indexBucket(other, 0, null, 10, CALL)).toEqual([{ ...METADATA, region: other, blocks: [] }]);
    expect(await client.indexBucket(other, 0, TRACE, 10, CALL)).toEqual([]);
  });

  test('records of a topic, until the caller has enough', async () => {
    const enough = new AbortController();
    const got = [];
    for await (const chunk of client.followTopic('trace-metadata', 0, RECORD.offset, enough.signal)) {
      got.push(chunk);
      enough.abort();
    }
    expect(got).toEqual([{ records: [RECORD], endOffset: RECORD.offset + 1 }]);
  });
});

describe('what is refused', () => {
  test('spans of a region that this is not', async () => {
    const elsewhere = { source: 'eu-west-1' as RegionId, traceId: TRACE, blocks: [], bytesMax: 0 };
    expect((await failure(client.getTrace(elsewhere, CALL))).code).toBe('refused');
  });

  test('a topic that is not for others', async () => {
    const follow = async () => {
      for await (const _ of client.followTopic('spans', 0, 0, new AbortController().signal)) break;
    };
    expect((await failure(follow())).code).toBe('not-found');
  });

  test.each([0, 1001])('a limit of %i', async (limit) => {
    const query = { attributes: [], startUnixNanoMin: 0n, startUnixNanoMax: 1n };
    expect((await failure(client.search({ source: REGION, limit, after: null, query }, CALL))).code).toBe('invalid');
  });

  test('a version that is not spoken here', async () => {
    const raw = new Client(`127.0.0.1:${server.address.port}`, credentials.createInsecure());
    const { path, requestSerialize, responseDeserialize } = regionApiService().GetStatus;
    const error = await new Promise<ServiceError | null>((resolve) => {
      raw.makeUnaryRequest(path, requestSerialize, responseDeserialize, { version: 2 }, (e) => resolve(e));
    });
    raw.close();
    expect(error?.metadata.get('meridian-code')).toEqual(['unknown-version']);
    expect(error?.details).toContain('version 2');
  });
});

describe('a region that does not do its part', () => {
  test('hangs: the call ends by its deadline', async () => {
    parts.hang = true;
    const call = client.getTrace({ source: REGION, traceId: TRACE, blocks: [], bytesMax: 0 }, { deadlineMs: 50 });
    expect((await failure(call)).code).toBe('timeout');
    parts.hang = false;
  });

  test('is not there: the error names it', async () => {
    const gone = clientOf(1);
    const error = await failure(gone.status(CALL));
    gone.close();
    expect(error.code).toBe('unavailable');
    expect(error.message).toBe(`getStatus at region ${REGION}: connect ECONNREFUSED 127.0.0.1:1`);
  });

  test('speaks something else: an error by the deadline, nothing worse', async () => {
    const babbler = createServer((socket) => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 200 OK\r\n\r\nhello');
    });
    await new Promise<void>((resolve) => babbler.listen(0, '127.0.0.1', resolve));
    const confused = clientOf((babbler.address() as AddressInfo).port);
    const error = await failure(confused.status({ deadlineMs: 500 }));
    confused.close();
    babbler.close();
    expect(['unavailable', 'timeout', 'malformed']).toContain(error.code);
  });

  test('gives up when the caller does', async () => {
    parts.hang = true;
    const stop = new AbortController();
    const call = failure(
      client.getTrace({ source: REGION, traceId: TRACE, blocks: [], bytesMax: 0 }, { ...CALL, signal: stop.signal }),
    );
    stop.abort();
    expect((await call).code).toBe('timeout');
    parts.hang = false;
  });
});
