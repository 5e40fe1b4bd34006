import './tokens.css';
import './base.css';
import { mount } from 'svelte';
import App from './App.svelte';
import { loadWords } from './model/strings';
import { prefs } from './state/prefs.svelte';

const target = document.getElementById('app');
if (target) void loadWords(prefs.language).catch(() => {}).then(() => mount(App, { target }));
