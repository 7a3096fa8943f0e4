import { Registry } from 'prom-client';
import { realClock } from '../../../global/runtime/clock.js';
import { silentLogger } from '../../../global/runtime/logger.js';
import { readEncodedBlock } from '../../segments/block-codec.js';
import { openSqliteSegmentStore } from '../sqlite-segment-store.js';

/** A child process for the kill -9 test: writes the blocks that it is sent to the store in the folder of its argument, says so, and waits. */
process.on('message', (blocks: readonly Uint8Array[]) => {
  write(blocks).then(
    () => process.send?.('written'),
    (error: unknown) => process.send?.(String(error)),
  );
});

async function write(blocks: readonly Uint8Array[]): Promise<void> {
  const folder = process.argv[2]!;
  const store = await openSqliteSegmentStore({
    folder,
    clock: realClock,
    logger: silentLogger,
    registry: new Registry(),
  });
  await store.write(blocks.map((bytes) => readEncodedBlock(Buffer.from(bytes))));
}
