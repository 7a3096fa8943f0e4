import { once } from 'node:events';
import type { ServerResponse } from 'node:http';

/**
 * Writes chunks as fast as the caller reads them, so that a large answer is never whole in memory. Resolves at the end, or when the caller
 * went away. What a generator throws after the first chunk destroys the connection: the caller sees a broken answer, not a short one.
 */
export async function sendChunks(response: ServerResponse, chunks: Iterable<string | Buffer>): Promise<void> {
  try {
    for (const chunk of chunks) {
      if (response.destroyed) return;
      if (!response.write(chunk) && !response.destroyed) {
        await Promise.race([once(response, 'drain'), once(response, 'close')]);
      }
    }
  } catch (error) {
    response.destroy();
    throw error;
  }
  response.end();
}
