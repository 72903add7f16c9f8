// A page from a server keeps up with its sweep: it asks for the document and is told when nothing has changed.

const RUNNING_MS = 4000;
const RESTING_MS = 30000;

/** Ask for newer documents for as long as the page is looked at. `renew(document)` shows one, `tell(words)` the state of the connection. */
function keepUp({ sweep, state, running, stale }, renew, tell) {
  let tag = state ? `"${state}"` : null;
  // A stale board is an older one that is shown while the newest is being computed.
  let soon = running || stale;
  let timer = 0;
  let failures = 0;
  const wait = () => {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(ask, Math.min(RESTING_MS * 2, (soon ? RUNNING_MS : RESTING_MS) * 2 ** failures));
  };
  const ask = async () => {
    try {
      const response = await fetch(documentAddress(sweep), {
        headers: tag ? { "If-None-Match": tag } : {},
        cache: "no-store",
        credentials: "same-origin",
      });
      if (response.status === 401 || response.status === 403) return tell("The login has ended: reload the page.");
      if (!response.ok && response.status !== 304) {
        const { error } = await response.json().catch(() => ({}));
        throw new Error(error ?? `status ${response.status}`);
      }
      if (response.status === 200) {
        const found = await response.json();
        [tag, soon] = [response.headers.get("ETag"), found.running || found.stale];
        renew(found);
      }
      failures = 0;
      tell("");
    } catch (error) {
      failures = Math.min(failures + 1, 4);
      tell(`The board cannot be renewed (${error.message}); what is shown may be old.`);
    }
    wait();
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : ask()));
  wait();
}

function documentAddress(sweep) {
  return `${location.pathname.replace(/\/$/, "")}/document?${new URLSearchParams({ sweep })}`;
}

/** Return the names of the sweeps that the reader may see; none if the server does not say. */
async function sweepNames() {
  try {
    const response = await fetch(`${location.pathname.replace(/\/$/, "")}/sweeps`, { credentials: "same-origin" });
    if (!response.ok) return [];
    return (await response.json()).sweeps.map((entry) => entry.name);
  } catch {
    return [];
  }
}
