"""How the chat page looks: light and dark colors, and a layout that fits a phone and a wide screen"""

STYLE = """
:root { color-scheme: light dark; --page: #faf9f6; --ink: #23211d; --soft: #6a665e; --line: #ddd8cc; --card: #ffffff;
  --mine: #efe9dd; --accent: #a84a14; --on-accent: #ffffff; --wrong: #b3261e; --shade: #3a2d1a14; }
@media (prefers-color-scheme: dark) {
  :root { --page: #191816; --ink: #ebe8e1; --soft: #a39e93; --line: #3a3732; --card: #23211e;
    --mine: #33302b; --accent: #f0a06a; --on-accent: #2a1405; --wrong: #ff8a80; --shade: #0006; }
}
* { box-sizing: border-box; }
[hidden] { display: none !important; }
body { margin: 0; height: 100dvh; display: flex; flex-direction: column; background: var(--page); color: var(--ink);
  font: 1rem/1.6 system-ui, sans-serif; -webkit-text-size-adjust: 100%; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.soft { color: var(--soft); font-size: .8125rem; margin: 0; }
header, form, #messages, #welcome { width: 100%; max-width: 46rem; margin: 0 auto; padding: 0 1.25rem; }

header { display: flex; align-items: center; gap: 1rem; padding-block: .85rem; }
header > div { flex: 1; min-width: 0; }
h1 { font-size: 1rem; font-weight: 600; line-height: 1.3; margin: 0; overflow-wrap: anywhere; }
main { flex: 1; min-height: 0; overflow-y: auto; overscroll-behavior: contain; display: flex;
  flex-direction: column; scrollbar-gutter: stable both-edges; scrollbar-width: thin;
  border-top: 1px solid var(--line); }
#welcome { margin-block: auto; text-align: center; padding-block: 2rem; }
#welcome h2 { font-size: 1.6rem; font-weight: 600; letter-spacing: -.015em; line-height: 1.25; margin: 0 0 .4rem; }

#messages { padding-block: 1.5rem .5rem; border-radius: .5rem; }
.message { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0 0 1.25rem; }
.user { background: var(--mine); border-radius: 1.1rem 1.1rem .3rem 1.1rem; padding: .55rem 1rem; width: fit-content;
  max-width: 85%; margin-left: auto; }
.note { color: var(--soft); font-size: .8125rem; margin-top: -.9rem; }
.error { color: var(--wrong); border-left: 3px solid; padding-left: .7rem; margin-top: 0; }
.waiting::after { content: "\\25CF"; color: var(--accent); animation: breathe 1.2s ease-in-out infinite; }
@keyframes breathe { 50% { opacity: .2; } }
@media (prefers-reduced-motion: reduce) { .waiting::after { animation: none; } }

form { padding-block: .75rem max(.75rem, env(safe-area-inset-bottom)); }
.box { display: flex; align-items: flex-end; gap: .5rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 1.4rem; padding: .4rem .4rem .4rem 1.1rem; box-shadow: 0 4px 18px var(--shade); }
.box:focus-within { border-color: var(--accent); }
textarea, input { font: inherit; color: inherit; background: transparent; border: 0; width: 100%; min-width: 0; }
textarea { resize: none; padding: .35rem 0; max-height: 40dvh; }
::placeholder { color: var(--soft); opacity: 1; }
input { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: .3rem .6rem;
  margin-top: .15rem; }
button { font: inherit; font-size: .875rem; color: inherit; background: none; border: 1px solid var(--line);
  border-radius: 2rem; padding: .35rem .9rem; cursor: pointer; flex: none; }
button:hover:enabled { border-color: var(--accent); }
button:disabled { opacity: .45; cursor: default; }
.round { width: 2.3rem; height: 2.3rem; padding: 0; display: grid; place-items: center; background: var(--accent);
  color: var(--on-accent); border: 0; }
.round svg { width: 1.1rem; height: 1.1rem; fill: none; stroke: currentColor; stroke-width: 2.4;
  stroke-linecap: round; stroke-linejoin: round; }
#stop svg { fill: currentColor; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
textarea:focus-visible { outline: none; }  /* the box around it shows the focus */

details { margin-top: .5rem; }
summary { width: fit-content; color: var(--soft); font-size: .8125rem; cursor: pointer; border-radius: .3rem;
  padding: 0 .3rem; }
.fields { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem .75rem;
  padding-top: .5rem; max-height: 40dvh; overflow-y: auto; }
label { color: var(--soft); font-size: .8125rem; }
label input { color: var(--ink); font-size: 1rem; }
.wide { grid-column: 1 / -1; }
@media (max-width: 30rem) {
  header, form, #messages, #welcome { padding-inline: .9rem; }
  header .soft { display: none; }
}
"""
