import type { RegionId } from '../../global/model/ids.js';
import { compareSearchPositions, type SearchPosition } from '../../global/model/query.js';
import type { RegionSearchPage } from '../../global/region-api/region-client.js';
import { MeridianError } from '../../global/runtime/errors.js';

/**
 * Checks what a region sent for a page: as many matches as asked at most, in search order, after the place asked for, each of its own
 * region and trace; and the page advances, so that reading on comes to an end. Throws `malformed`.
 */
export function checkSearchPage(
  page: RegionSearchPage,
  region: RegionId,
  after: SearchPosition | null,
  limit: number,
): void {
  const wrong = (what: string) => new MeridianError('malformed', `${region} answered a search with ${what}`, 'never');
  if (page.matches.length > limit) throw wrong(`${page.matches.length} matches, ${limit} were asked for`);
  let last = after;
  for (const { position, metadata } of page.matches) {
    if (last && compareSearchPositions(last, position) >= 0) throw wrong('matches out of order');
    if (metadata.traceId !== position.traceId) throw wrong('a match whose metadata are of another trace');
    if (metadata.region !== region) throw wrong(`a match of region ${metadata.region}`);
    last = position;
  }
  if (page.next === null) return;
  const advances =
    page.matches.length > 0
      ? compareSearchPositions(last!, page.next) <= 0
      : after === null || compareSearchPositions(after, page.next) < 0;
  if (!advances) throw wrong('a next position that does not advance');
}
