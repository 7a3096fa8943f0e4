import { createGrpcRegionClient } from '../../global/region-api/grpc-region-client.js';
import { plaintext } from '../../global/runtime/channel-security.js';
import { eventually, type TestFleet, THREE } from './test-fleet.js';

/** Waits until all three copies of each region's index are equal by digest (and not empty); throws what they were at the end. */
export async function indexesEqual(fleet: TestFleet, limitMs = 60_000): Promise<void> {
  const clients = THREE.map((region) =>
    createGrpcRegionClient({ region, address: fleet.endpoints.regions[region]!.regionApi, security: plaintext }),
  );
  try {
    for (const of of THREE) {
      await eventually(
        `three equal digests of ${of}`,
        async () => {
          const digests = await Promise.all(clients.map((client) => client.indexDigests(of, { deadlineMs: 5000 })));
          const texts = digests.map((list) =>
            JSON.stringify(list.map((d) => [d.bucketStartMs, d.recordCount, d.hash]).sort()),
          );
          return texts[0] !== '[]' && new Set(texts).size === 1 ? { value: true } : { failure: texts.join('\n') };
        },
        limitMs,
      );
    }
  } finally {
    for (const client of clients) client.close();
  }
}
