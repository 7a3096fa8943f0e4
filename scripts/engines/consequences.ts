import type { EngineKind } from './engine-kinds.js';

/**
 * What follows from an engine of a region being away, in words for whoever is on call: what still works, what does not, and whether anything is
 * lost. `away` names every engine of the region that is away, this one among them: what one takes over no longer holds when the other is away,
 * too. Nothing has to be done after its return: each view catches up from the log.
 */
export function consequenceOf(kind: EngineKind, region: string, away: ReadonlySet<EngineKind>): string {
  const ingest = away.has('kafka') ? '' : `Ingest of ${region} goes on. `;
  switch (kind) {
    case 'kafka':
      return (
        `${region} stores no new spans: they wait in its collectors' spool where there is one, and beyond it senders are told to try again; ` +
        `nothing that was acknowledged is lost. ${away.has('elasticsearch') ? '' : `Stored traces of ${region} are answered. `}` +
        `Other regions learn of no new traces of ${region}, so their routers ask it rather than skip it.`
      );
    case 'elasticsearch':
      return (
        `${ingest}${away.has('kafka') ? '' : 'Live traces are answered. '}Older traces of ${region} are missing from answers, and the answers say ` +
        'so. Nothing is lost while Kafka keeps segments (7 days unless configured otherwise): the writer catches up by itself.'
      );
    case 'redis':
      return (
        `The router of ${region} cannot look traces up: it asks every region instead, which is slower and as right. ${ingest}` +
        'Nothing is lost: the index catches up from Kafka by itself, and is rebuilt where Redis lost its data.'
      );
    case 'mirror-maker':
      return (
        `${region} learns of no new traces of the other regions: its router asks every region rather than skip one, which is slower and ` +
        `as right. The other regions notice nothing. Nothing is lost while their Kafkas keep trace-metadata (7 days unless configured ` +
        'otherwise): it goes on where it stopped.'
      );
  }
}

/** What follows from all engines of a region being away. */
export function regionConsequence(region: string): string {
  return (
    `${region} takes no spans and answers nothing; answers of the other regions' routers lack its part and say so. Nothing that was acknowledged is ` +
    `lost: its data are on disk. \`meridian start ${region}\` brings it back where it was stopped.`
  );
}
