import { Registry } from 'prom-client';
import { realClock } from '../../../global/runtime/clock.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { readEncodedBlock } from '../../segments/block-codec.js';
import { openElasticsearchSegmentStore } from '../elasticsearch-segment-store.js';

/** A child process for the kill -9 test: writes the blocks that it is sent to the node and prefix of its arguments, says so, and waits. */
process.on('message', (blocks: readonly Uint8Array[]) => {
  write(blocks).then(
    () => process.send?.('written'),
    (error: unknown) => process.send?.(String(error)),
  );
});

async function write(blocks: readonly Uint8Array[]): Promise<void> {
  const [url, indexPrefix] = process.argv.slice(2) as [string, string];
  const store = await openElasticsearchSegmentStore({
    nodes: [url],
    indexPrefix,
    replicas: 0,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
  });
  await store.write(blocks.map((bytes) => readEncodedBlock(Buffer.from(bytes))));
}
