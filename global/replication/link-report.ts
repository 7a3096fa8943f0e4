import type { LinkStatus } from '../region-api/region-client.js';
import type { HealthCheck } from '../runtime/service.js';

/** How the mirror from one source does, whoever carries the records. */
export interface LinkReport {
  status(): LinkStatus;
  /** `link-{source}`; never `down`: a link that is down degrades the region that receives, it does not take it down. */
  health(): HealthCheck;
}
